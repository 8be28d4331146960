"""Whose are the daemons' own calls? The birth's whose ids, paths, network namespace or children they touch."""

from collections.abc import Iterable

from otel_kernel.births.arguments import pod_uid_in
from otel_kernel.births.daemon_calls import DaemonCalls, Item, ids_in, mounted_target, snapshot_of, tokens_of
from otel_kernel.births.model import Birth, Pod, Unit
from otel_kernel.births.process import Process
from otel_kernel.births.register import PodRegister
from otel_kernel.kernel.events import Call, CgroupWrite


class Ownership:
    """Gives daemons' calls to open units, whichever comes first: the call or what tells whose it is."""

    def __init__(self, pods: PodRegister, kept: int, kept_ns: int) -> None:
        self._pods = pods
        self._owners: dict[str, Unit] = {}
        self.waiting = DaemonCalls(kept, kept_ns)

    def take(self, item: Item, made: Process | None) -> None:
        """Give a daemon's call to whom it belongs, or keep it; `made` is the lineage's first process that it cloned."""
        tokens = tokens_of(item)
        unit = made.unit if made is not None else self._owner(item, tokens)
        if unit is not None:
            self._give(item, unit)
            return
        for birth in self._births_named(tokens):
            if self._give_to_pod(item, birth):
                return
        self.waiting.keep(item, tokens)

    def own(self, unit: Unit, token: str) -> None:
        """Let a unit be known by an id or path, and give it the calls that named that before."""
        if token in self._owners:
            return
        self._owners[token] = unit
        unit.tokens.append(token)
        for item in self.waiting.claim(token):
            self._give(item, unit)

    def begun(self, process: Process) -> None:
        """Give a lineage's unit the clone that made its first process, if that came before."""
        call = self.waiting.claim_clone(process)
        if call is not None:
            self._give(call, process.unit)

    def named(self, pod: Pod) -> None:
        """Give a pod's open birth the calls that named its UID before."""
        if pod.identity.pod_uid is None or pod.birth is None:
            return
        for item in self.waiting.claim(pod.identity.pod_uid):
            if not self._give_to_pod(item, pod.birth):
                self.waiting.keep(item, tokens_of(item))

    def release(self, unit: Unit) -> None:
        """Give a unit nothing any more."""
        self.waiting.forget(unit)
        for token in unit.tokens:
            del self._owners[token]
        unit.tokens.clear()

    def _owner(self, item: Item, tokens: Iterable[str]) -> Unit | None:
        for token in tokens:
            unit = self._owners.get(token)
            if unit is not None:
                return unit
        return self.waiting.returned_for(item) if isinstance(item, Call) else None

    def _births_named(self, tokens: Iterable[str]) -> list[Birth]:
        pods = (self._pods.find(token, None) for token in tokens)
        return [pod.birth for pod in pods if pod is not None and pod.birth is not None]

    def _give(self, item: Item, unit: Unit) -> None:
        if isinstance(item, CgroupWrite):
            unit.daemon_cgroup_writes += 1
            return
        unit.takes(item)
        for token in _taught(item, unit):
            self.own(unit, token)
        if item.name == "mount" and item.return_value == 0 and item.target == unit.identity.network_namespace:
            for call in (self.waiting.claim_unshare(item), self.waiting.claim_return(item, unit)):
                if call is not None:
                    unit.takes(call)

    def _give_to_pod(self, item: Item, birth: Birth) -> bool:
        """Give a birth a call that names its pod but none of its containers."""
        uid = birth.pod.identity.pod_uid
        if isinstance(item, CgroupWrite):
            birth.daemon_cgroup_writes += 1
            return True
        if uid in {pod_uid_in(item.source or ""), pod_uid_in(item.target or "")}:
            self._give(item, birth.volumes(item.start_ns))
            return True
        if birth.sandboxes:
            self._give(item, birth.sandboxes[-1])
        return bool(birth.sandboxes)


def _taught(call: Call, unit: Unit) -> list[str]:
    """Return by what else a unit is known after this call; a failing one proves nothing."""
    if unit.is_volumes:
        return []
    told = [mounted_target(call)]
    if unit.identity.container_id in ids_in(call.target or ""):
        told.append(snapshot_of(call))
    return [token for token in told if token is not None]
