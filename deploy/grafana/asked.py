"""What the dashboards ask with: label selectors, rates, words for emptiness."""

from deploy.grafana.panels import Query

POD = 'k8s_namespace_name=~"$namespace",k8s_pod_name=~"$pod"'
NODE = 'k8s_node_name=~"$node"'
BY_POD = "k8s_namespace_name, k8s_pod_name"
BY_CONTAINER = f"{BY_POD}, k8s_container_name"
CONTAINER_LEGEND = "{{k8s_pod_name}} {{k8s_container_name}}"

NAMESPACES = ("namespace", "label_values(k8s_pod_cpu_time_seconds_total, k8s_namespace_name)")
PODS = ("pod", 'label_values(k8s_pod_cpu_time_seconds_total{k8s_namespace_name=~"$namespace"}, k8s_pod_name)')
NODES = ("node", "label_values(otel_kernel_agent_pods, k8s_node_name)")

NO_EBPF = "where eBPF does not work (`otel-kernel check` says why)"
NO_PSI = "on kernels without PSI"
NO_LIMIT = "while no container has a CPU limit"
NO_BIRTH = "while no pod was born in the interval"


def per_second(metric: str, labels: str, by: str) -> str:
    """Return the sum of a counter's rate by some labels."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, histogram: str, labels: str, by: str = "") -> str:
    """Return a quantile of a histogram, by some labels."""
    by_bucket = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, {per_second(f'{histogram}_bucket', labels, by_bucket)})"


def by_container(metric: str) -> Query:
    """Return a counter's rate for each container."""
    return Query(per_second(metric, POD, BY_CONTAINER), CONTAINER_LEGEND)
