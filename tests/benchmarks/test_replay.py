"""Copies of recorded births, and records made of them: what throughput is measured with."""

import tempfile
from pathlib import Path

import pytest

from benchmarks import packing, replay, throughput
from otel_kernel.kernel import records, syscalls

NUMBERS = syscalls.table()
ORIGINALS = {original.name: original for original in replay.originals()}


@pytest.mark.parametrize("name", ORIGINALS)
def test_records_decode_to_the_recorded_events(name: str) -> None:
    """Every recorded event, packed as the kernel side would and read from a ring, decodes to itself."""
    copy = ORIGINALS[name].copy(0)
    decoder = records.Decoder(NUMBERS)
    with packing.ring_of([packing.pack(event, NUMBERS) for event in copy.events]) as ring:
        assert tuple(decoder.decode(record) for record in ring.records()) == tuple(copy.events)


@pytest.mark.parametrize("name", ORIGINALS)
def test_copies_share_nothing(name: str) -> None:
    """Two copies of a birth have other pods, other bundles and no event in common."""
    first, second = ORIGINALS[name].copy(1), ORIGINALS[name].copy(2)
    assert first.pod_uid != second.pod_uid
    assert not set(first.bundles) & set(second.bundles)
    assert not set(first.events) & set(second.events)


def test_a_birth_that_does_not_come_out_is_no_measurement() -> None:
    """Where a bundle is missing no pod is named, and the benchmark refuses to call that a birth."""
    copy = next(iter(ORIGINALS.values())).copy(0)
    packed = [packing.pack(event, NUMBERS) for event in copy.events]
    with tempfile.TemporaryDirectory() as directory:
        pipeline = throughput.Pipeline(Path(directory), records.Decoder(NUMBERS))
        with pytest.raises(RuntimeError, match="did not come out whole"):
            pipeline.run([copy], [packed])
        pipeline = throughput.Pipeline(Path(directory), records.Decoder(NUMBERS))
        pipeline.place([copy])
        spent = pipeline.run([copy], [packed])
    assert set(spent) == set(throughput.STAGES)
    assert all(seconds > 0 for seconds in spent.values())
