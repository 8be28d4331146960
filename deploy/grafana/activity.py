"""What pods do: system calls, processes, drops."""

from deploy.grafana.asked import (
    BY_CONTAINER,
    CONTAINER_LEGEND,
    NAMESPACES,
    NO_EBPF,
    POD,
    PODS,
    by_container,
    per_second,
)
from deploy.grafana.panels import Page, Panel, Query

SYSCALLS = "otel_kernel_container_syscalls_total"

PAGE = Page(
    "otel-kernel-activity",
    "What pods do: system calls, processes, drops",
    [
        (
            "System calls",
            [
                Panel(
                    "By container",
                    "Exact, counted in the kernel.",
                    [by_container(SYSCALLS)],
                    unit="ops",
                    empty=NO_EBPF,
                ),
                Panel(
                    "By name",
                    "The ten most frequent; what has no name of its own is _OTHER.",
                    [
                        Query(
                            f"topk(10, {per_second(SYSCALLS, POD, 'otel_kernel_syscall_name')})",
                            "{{otel_kernel_syscall_name}}",
                        )
                    ],
                    unit="ops",
                    empty=NO_EBPF,
                ),
                Panel(
                    "Context switches",
                    "Voluntary: it waited for something. Involuntary: somebody else was to run.",
                    [
                        Query(
                            per_second(
                                "otel_kernel_container_context_switches_total",
                                POD,
                                "k8s_pod_name, process_context_switch_type",
                            ),
                            "{{k8s_pod_name}} {{process_context_switch_type}}",
                        )
                    ],
                    unit="ops",
                    empty=NO_EBPF,
                ),
                Panel(
                    "Files opened",
                    "Successful open, openat, openat2, creat.",
                    [by_container("otel_kernel_container_file_opens_total")],
                    unit="ops",
                    empty=NO_EBPF,
                ),
            ],
        ),
        (
            "Processes and network",
            [
                Panel(
                    "Processes",
                    "In each container now.",
                    [
                        Query(
                            f"sum by ({BY_CONTAINER}) (otel_kernel_container_processes{{{POD}}})",
                            CONTAINER_LEGEND,
                        )
                    ],
                ),
                Panel(
                    "Programs begun",
                    "Execs by container.",
                    [by_container("otel_kernel_container_process_execs_total")],
                    unit="ops",
                    empty=NO_EBPF,
                ),
                Panel(
                    "Dropped packets",
                    "By the kernel's reason, in the pod or on the host's side of its link.",
                    [
                        Query(
                            per_second(
                                "otel_kernel_pod_network_drops_total",
                                POD,
                                "k8s_pod_name, otel_kernel_drop_reason, otel_kernel_drop_side",
                            ),
                            "{{k8s_pod_name}} {{otel_kernel_drop_reason}} ({{otel_kernel_drop_side}})",
                        )
                    ],
                    unit="pps",
                    empty=f"while nothing was dropped; {NO_EBPF}; before Linux 5.17",
                ),
                Panel(
                    "Traffic",
                    "Of the pod's own devices.",
                    [
                        Query(
                            per_second("k8s_pod_network_io_bytes_total", POD, "k8s_pod_name, network_io_direction"),
                            "{{k8s_pod_name}} {{network_io_direction}}",
                        )
                    ],
                    unit="Bps",
                    empty="for pods in the node's network",
                ),
            ],
        ),
    ],
    [NAMESPACES, PODS],
)
