"""What the environment of a CNI plugin says of the pod it gives a network to (CNI specification 1.0, section 2)."""

from otel_kernel.births import arguments
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.pods import cgroup_path, names

SOURCE = "cni-env"


def facts(environment: tuple[tuple[str, str], ...], ns: int) -> ContainerFacts | None:
    """Return what CNI_* variables say of a sandbox, or None unless they say ADD and to which sandbox."""
    told = arguments.cni_arguments(environment)
    if told is None or told.command != "ADD" or told.container_id is None:
        return None
    return ContainerFacts(
        ns,
        SOURCE,
        told.container_id,
        sandbox_id=told.container_id,
        is_sandbox=True,
        pod_uid=cgroup_path.valid_uid(told.pod_uid or ""),
        pod_name=names.clean(told.pod_name, names.LONGEST_SUBDOMAIN),
        namespace=names.clean(told.pod_namespace, names.LONGEST_LABEL),
        network_namespace=names.clean(told.network_namespace, names.LONGEST_PATH),
    )
