"""What pods wait for: their own limit, or their neighbours."""

from deploy.grafana.asked import (
    BY_CONTAINER,
    BY_POD,
    CONTAINER_LEGEND,
    NAMESPACES,
    NO_EBPF,
    NO_LIMIT,
    NO_PSI,
    POD,
    PODS,
    by_container,
    per_second,
    quantile,
)
from deploy.grafana.panels import Page, Panel, Query


def throttled(level: str, by: str) -> str:
    """Return the share of CPU periods in which pods or containers hit their own limit."""
    hit, all_ = (f"otel_kernel_{level}_cpu_{which}_total" for which in ("throttled_periods", "periods"))
    return f"{per_second(hit, POD, by)} / ({per_second(all_, POD, by)} > 0)"


def waiting_for(resource: str) -> str:
    """Return the share of time in which something in the pod waited."""
    some = f'{POD},otel_kernel_pressure_resource="{resource}",otel_kernel_pressure_type="some"'
    return per_second("otel_kernel_pod_pressure_time_seconds_total", some, BY_POD)


# A pod without a limit is not throttled: less nothing.
NOT_THROTTLED = (
    f"clamp_min({waiting_for('cpu')} - on ({BY_POD}) ({throttled('pod', BY_POD)} or 0 * {waiting_for('cpu')}), 0)"
)

PAGE = Page(
    "otel-kernel-waiting",
    "What pods wait for: their own limit, or their neighbours",
    [
        (
            "Own limit",
            [
                Panel(
                    "Throttled periods",
                    "The share of CPU periods in which a container hit its own limit.",
                    [Query(throttled("container", BY_CONTAINER), CONTAINER_LEGEND)],
                    unit="percentunit",
                    empty=NO_LIMIT,
                ),
                Panel(
                    "Use and limit",
                    "CPUs used, and the limit as the kernel enforces it.",
                    [
                        by_container("container_cpu_time_seconds_total"),
                        Query(
                            f"sum by ({BY_CONTAINER}) (k8s_container_cpu_limit_current{{{POD}}})",
                            "limit of {{k8s_pod_name}} {{k8s_container_name}}",
                        ),
                    ],
                    unit="cores",
                    empty=f"the limit {NO_LIMIT}",
                ),
                Panel(
                    "Time stopped by the limit",
                    "Seconds a second, added up over CPUs.",
                    [by_container("otel_kernel_container_cpu_throttled_time_seconds_total")],
                    unit="s",
                    empty=NO_LIMIT,
                ),
                Panel(
                    "Processes killed for memory",
                    "By container, in the last hour.",
                    [
                        Query(
                            f"sum by ({BY_CONTAINER}) (increase(otel_kernel_container_oom_kills_total{{{POD}}}[1h]))",
                            CONTAINER_LEGEND,
                        )
                    ],
                ),
            ],
        ),
        (
            "Neighbours",
            [
                Panel(
                    f"Pressure: {resource}",
                    f"The share of time in which something in the pod waited for {resource}.",
                    [Query(waiting_for(resource), "{{k8s_pod_name}}")],
                    unit="percentunit",
                    width=8,
                    empty=NO_PSI,
                )
                for resource in ("cpu", "memory", "io")
            ]
            + [
                Panel(
                    "Waits for a CPU without being throttled",
                    "CPU pressure less the share of throttled periods: what is left comes from others on the node.",
                    [Query(NOT_THROTTLED, "{{k8s_pod_name}}")],
                    unit="percentunit",
                    empty=NO_PSI,
                ),
                Panel(
                    "Run queue, p99",
                    "How long a task that could run waited for a CPU.",
                    [
                        Query(
                            quantile(0.99, "otel_kernel_container_run_queue_duration_seconds", POD, BY_CONTAINER),
                            CONTAINER_LEGEND,
                        )
                    ],
                    unit="s",
                    empty=NO_EBPF,
                ),
            ],
        ),
    ],
    [NAMESPACES, PODS],
)
