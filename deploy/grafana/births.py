"""How many pods are born, how long it takes, and which were the slowest."""

from deploy.grafana.asked import NAMESPACES, NO_BIRTH, per_second, quantile
from deploy.grafana.panels import Page, Panel, Query, Search

START = "otel_kernel_pod_start_duration_seconds"
STEP = "otel_kernel_pod_start_step_duration_seconds"
BY_STEP = "otel_kernel_step_name"
CHOSEN = 'k8s_namespace_name=~"$namespace"'
NOT_WHOLE = '{otel_kernel_birth_completion!~"known|quiet"}'
QUIET = "while there was none"


def start_within(share: float) -> Query:
    """Return the time within which that share of pods started, with exemplars that lead to births."""
    return Query(quantile(share, START, CHOSEN), f"p{round(share * 100)}", with_exemplars=True)


# Of how many births: those whose steps are counted.
STEP_TIME = f"sum by ({BY_STEP}) (increase({STEP}_sum[1h])) / scalar(sum(increase({START}_count[1h])) > 0)"

PAGE = Page(
    "otel-kernel-births",
    "Pod births",
    [
        (
            "How many, how long",
            [
                Panel(
                    "Births",
                    "Pods born per minute, by how their birth ended: known and quiet are whole, the others are not.",
                    [
                        Query(
                            f"60 * {per_second('otel_kernel_births_total', '', 'otel_kernel_birth_completion')}",
                            "{{otel_kernel_birth_completion}}",
                        )
                    ],
                ),
                Panel(
                    "Start duration",
                    "From the first thing the kernel did for a pod to its last container's entry point. The dots are "
                    "births: each leads to its trace (provisioning/datasources.yaml).",
                    [start_within(share) for share in (0.5, 0.95, 0.99)],
                    unit="s",
                    empty=NO_BIRTH,
                ),
                Panel(
                    "Births in the last hour",
                    "All of them.",
                    [Query("sum(increase(otel_kernel_births_total[1h]))", "births")],
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "Not seen whole",
                    "Births of the last hour that timed out, were cut by the agent's end, or had begun before it.",
                    [
                        Query(
                            f"sum(increase(otel_kernel_births_total{NOT_WHOLE}[1h])) or vector(0)",
                            "births",
                        )
                    ],
                    kind="stat",
                    width=6,
                ),
                Panel(
                    "By namespace, p95",
                    "Whose pods are born slowly.",
                    [Query(quantile(0.95, START, CHOSEN, "k8s_namespace_name"), "{{k8s_namespace_name}}")],
                    unit="s",
                    empty=NO_BIRTH,
                ),
            ],
        ),
        (
            "By step, of all namespaces",
            [
                Panel(
                    "Duration of steps, p95",
                    "Of each step by itself: units (volumes, sandbox, container), and the processes that built them. "
                    "The dots are births in which it took so long.",
                    [Query(quantile(0.95, STEP, "", BY_STEP), "{{otel_kernel_step_name}}", with_exemplars=True)],
                    unit="s",
                    empty=NO_BIRTH,
                ),
                Panel(
                    "Time of a birth, by step",
                    "The mean over the births of the last hour, a step that happens twice added up. Processes lie "
                    "within units, and some at the same time: they do not add up to the whole. untraced: in no "
                    "process, wait or daemon's call.",
                    [Query(STEP_TIME, "{{otel_kernel_step_name}}")],
                    unit="s",
                    empty=NO_BIRTH,
                ),
            ],
        ),
        (
            "The slowest, each with its trace",
            [
                Panel("Births", "Slower than a second.", search=Search("otel-kernel", "pod birth", "1s"), empty=QUIET),
                Panel(
                    "Restarted containers",
                    "Traces of their own, linked to the birth.",
                    search=Search("otel-kernel", "container restart", "1ms"),
                    empty=QUIET,
                ),
            ],
        ),
        (
            "Slow steps, each with its trace",
            [
                Panel(
                    title,
                    meaning,
                    search=Search(service, operation, least),
                    width=8,
                    empty=QUIET,
                )
                for title, meaning, service, operation, least in (
                    ("Network", "CNI's `ptp`; other plugins by their own names.", "cni", "ptp", "10ms"),
                    ("runc create", "Making the container.", "runc", "runc create", "50ms"),
                    ("runc init", "From within, until the entry point.", "runc", "runc init", "50ms"),
                )
            ],
        ),
    ],
    [NAMESPACES],
)
