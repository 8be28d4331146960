"""What was counted for a container's cgroup, by name."""

from dataclasses import dataclass
from pathlib import Path

from otel_kernel.kernel import life, syscalls
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.life import ContainerCounts, Life, Owner, Row
from otel_kernel.kernel.probes import Probes
from tests.kernel.waiting import until


@dataclass(frozen=True)
class Counts:
    """The tables of loaded probes."""

    probes: Probes
    counting: Counting

    @property
    def tables(self) -> ContainerCounts:
        """The tables themselves."""
        assert self.probes.containers is not None
        return self.probes.containers

    def owner(self, cgroup_id: int) -> Owner | None:
        """Return who has the slot of a cgroup; None when it has none."""
        return next((each for each in self.tables.owners() if each.cgroup_id == cgroup_id), None)

    def row(self, cgroup: Path | int) -> Row:
        """Return all that was counted for a cgroup."""
        owner = self.owner(cgroup.stat().st_ino if isinstance(cgroup, Path) else cgroup)
        assert owner is not None, "it has no slot"
        with self.tables.reading() as rows:
            return rows.of(owner.slot)

    def life(self, cgroup: Path | int) -> Life:
        """Return what was counted but calls."""
        return Life.of(self.row(cgroup).life)

    def calls(self, cgroup: Path | int) -> dict[str, int]:
        """Return the system calls by name, without those that were not made."""
        names = self.counting.column_names(syscalls.table())
        counted = life.by_column(self.row(cgroup).calls)
        assert all(at in names for at, count in enumerate(counted) if count)
        return {names[at]: count for at, count in enumerate(counted) if count}

    def release(self, cgroup_id: int) -> None:
        """Give the slot of a cgroup that is gone back."""
        owner = until(lambda: self.owner(cgroup_id), lambda found: found is not None and found.is_gone)
        assert owner is not None
        self.tables.release(owner.slot)
