"""The agent itself, and what carries its telemetry."""

from deploy.grafana.asked import NO_BIRTH, NO_EBPF, NODE, NODES, per_second, quantile
from deploy.grafana.panels import Page, Panel, Query

PAGE = Page(
    "otel-kernel-health",
    "The agent itself, and what carries its telemetry",
    [
        (
            "Agent",
            [
                Panel(
                    "Agents",
                    "Nodes that report.",
                    [Query(f"count(otel_kernel_agent_pods{{{NODE}}})", "nodes")],
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Events lost in the last hour",
                    "Of which births open then say so themselves.",
                    [Query(f"sum(increase(otel_kernel_agent_events_lost_total{{{NODE}}}[1h]))", "events")],
                    kind="stat",
                    width=6,
                ),
                Panel("Pods", "By node.", [Query(f"otel_kernel_agent_pods{{{NODE}}}", "{{k8s_node_name}}")]),
                Panel(
                    "CPU",
                    "Of the agent, in cores.",
                    [
                        Query(
                            per_second("process_cpu_time_seconds_total", f'job="otel-kernel",{NODE}', "k8s_node_name"),
                            "{{k8s_node_name}}",
                        )
                    ],
                    unit="cores",
                ),
                Panel(
                    "Memory",
                    "Resident, and what the kernel holds for its maps.",
                    [
                        Query(
                            f'sum by (k8s_node_name) (process_memory_usage_bytes{{job="otel-kernel",{NODE}}})',
                            "{{k8s_node_name}}",
                        ),
                        Query(
                            f"sum by (k8s_node_name) (otel_kernel_agent_bpf_map_memory_bytes{{{NODE}}})",
                            "{{k8s_node_name}}, maps",
                        ),
                    ],
                    unit="bytes",
                    empty=f"the maps {NO_EBPF}",
                ),
                Panel(
                    "Events",
                    "Received, and lost by kind.",
                    [
                        Query(
                            per_second("otel_kernel_agent_events_received_total", NODE, "k8s_node_name"),
                            "{{k8s_node_name}}",
                        ),
                        Query(
                            per_second(
                                "otel_kernel_agent_events_lost_total", NODE, "k8s_node_name, otel_kernel_loss_kind"
                            ),
                            "{{k8s_node_name}} lost: {{otel_kernel_loss_kind}}",
                        ),
                    ],
                    unit="ops",
                    empty=f"received {NO_EBPF}",
                ),
                Panel(
                    "Not delivered",
                    "What its collector did not take, by signal and kind; `retried` arrived later.",
                    [
                        Query(
                            per_second(
                                "otel_kernel_agent_export_failures_total",
                                NODE,
                                "k8s_node_name, otel_kernel_signal, otel_kernel_failure_kind",
                            ),
                            "{{k8s_node_name}} {{otel_kernel_signal}} {{otel_kernel_failure_kind}}",
                        )
                    ],
                ),
                Panel(
                    "Time to a pod's name, p95",
                    "From its cgroup to its name.",
                    [
                        Query(
                            quantile(0.95, "otel_kernel_agent_identity_lag_seconds", NODE, "k8s_node_name"),
                            "{{k8s_node_name}}",
                        )
                    ],
                    unit="s",
                    empty=NO_BIRTH,
                ),
            ],
        ),
        (
            "Collector and bridge",
            [
                Panel(
                    "Collector: waiting",
                    "What its queues hold.",
                    [Query("sum by (instance, exporter) (otelcol_exporter_queue_size)", "{{instance}} {{exporter}}")],
                    empty="while nothing scrapes the collector (deploy/prometheus/prometheus.yml)",
                ),
                Panel(
                    "Collector: dropped",
                    "Refused for good by a backend, or given up after 15 minutes (metrics).",
                    [
                        Query(
                            per_second(f"otelcol_exporter_send_failed_{what}", "", "instance, exporter"),
                            f"{{{{instance}}}} {{{{exporter}}}} {what}",
                        )
                        for what in ("spans", "metric_points", "log_records")
                    ],
                    empty="while nothing failed, or nothing scrapes the collector",
                ),
                Panel(
                    "Collector: vanished",
                    "What an exporter's queue took and neither delivered nor gave up, of the collector's life: a full "
                    "disk, or a span larger than a batch. Known whenever nothing waits.",
                    [
                        Query(f"otel_kernel:collector_vanished:{what}", f"{{{{instance}}}} {{{{exporter}}}} {what}")
                        for what in ("spans", "log_records")
                    ],
                    empty="while something waits, or nothing scrapes the collector, or it has not the gate that "
                    "collector-config/sidecar.yaml names",
                ),
                Panel(
                    "Bridge: messages",
                    "By what became of them; everything told to the bridge is counted once.",
                    [
                        Query(
                            "sum by (kind, outcome)"
                            " (increase(otel_kernel_bridge_messages_total[$__rate_interval])) > 0",
                            "{{kind}} {{outcome}}",
                        )
                    ],
                    empty="while nothing scrapes a bridge, or nothing was told",
                ),
                Panel(
                    "Bridge: waits",
                    "1 while the operator takes nothing.",
                    [Query("otel_kernel_bridge_waiting", "{{instance}}")],
                    empty="while nothing scrapes a bridge",
                ),
            ],
        ),
    ],
    [NODES],
)
