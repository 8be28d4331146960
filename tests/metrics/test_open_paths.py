"""Which beginnings of paths are told."""

import random

from otel_kernel.metrics.open_paths import PATHS_TOLD, OpenPaths


def told(paths: OpenPaths) -> dict[str, float]:
    """Return what is told, by path."""
    return {str(dict(each.name.attributes)["otel_kernel.file.path_prefix"]): each.value for each in paths.samples()}  # type: ignore[misc]


def opened(**counts: int) -> dict[bytes, int]:
    """Return counts as the kernel side tells them."""
    return {f"/{path}".encode().ljust(60, b"\0"): count for path, count in counts.items()}


def test_nothing_yet() -> None:
    """The rest is told from the beginning."""
    assert told(OpenPaths()) == {"_OTHER": 0}


def test_few_paths() -> None:
    """As long as there are few, all are told as they were counted, and what found no place by its path."""
    paths = OpenPaths()
    paths.take(opened(etc=3, usr=5), 7)
    assert told(paths) == {"/etc": 3, "/usr": 5, "_OTHER": 7}
    paths.take(opened(etc=3, usr=9, var=1), 8)
    assert told(paths) == {"/etc": 3, "/usr": 9, "/var": 1, "_OTHER": 8}


def test_the_most_opened_are_told() -> None:
    """Of too many those are told that grow most; what grows later takes the place of what grows no more."""
    paths = OpenPaths()
    start = {f"lib{number}": 100 - number for number in range(30)}
    paths.take(opened(**start), 0)
    first = told(paths)
    assert len(first) == PATHS_TOLD + 1
    assert first["/lib0"] == 100
    assert first["_OTHER"] == sum(100 - number for number in range(PATHS_TOLD, 30))
    paths.take(opened(**start, data=50), 0)
    second = told(paths)
    assert second["/data"] == 50
    assert len(second) == PATHS_TOLD + 1
    assert sum(first.values()) + 50 - sum(second.values()) in set(first.values())  # one is told no more


def test_nothing_goes_back() -> None:
    """Whatever grows, no series goes back, and what is told of all grows by what was opened."""
    draw = random.Random(7)  # noqa: S311 - a test
    counts = dict.fromkeys((f"p{number}" for number in range(60)), 0)
    paths, unplaced, before, highest = OpenPaths(), 0, dict[str, float](), dict[str, float]()
    for _ in range(300):
        for path in draw.sample(sorted(counts), 20):
            counts[path] += draw.choice((0, 1, 5, 200))
        unplaced += draw.randrange(3)
        paths.take(opened(**counts), unplaced)
        now = told(paths)
        assert all(now[path] >= highest.get(path, 0) for path in now)
        highest |= now
        assert sum(highest.values()) == sum(counts.values()) + unplaced
        before = now
    assert before
