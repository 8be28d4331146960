"""Loading the kernel side, and what it says when it cannot be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otel_kernel.kernel import btf, headers, loader
from otel_kernel.kernel.probes import RUNTIME_DAEMON, Loading, Probes, ProbesError, Sizes
from tests.kernel.actors import DAEMON, Daemon, Kernel, repeat

pytestmark = pytest.mark.root
LOAD = """
import sys
from pathlib import Path
from otel_kernel.kernel.probes import Loading, ProbesError, Sizes
import os
before = set(os.listdir("/proc/self/fd"))
try:
    probes = Loading(Path(sys.argv[1]), Sizes(), drops=True).finish()
    print("without drops:", probes.why_no_drops)
    probes.close()
except ProbesError as error:
    print(error)
print(len(set(os.listdir("/proc/self/fd")) - before))
"""


def open_descriptors() -> set[str]:
    """The descriptors of this process."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def load_where(changed: str, cache: Path) -> str:
    """Load in a mount namespace in which a shell command changed something; return the error's only line."""
    script = f'set -e; mount --make-rprivate /; {changed}; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", LOAD, str(cache)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert told.stderr == ""
    line, descriptors_left = told.stdout.splitlines()
    assert descriptors_left == "0"
    return line


def replaced(file: Path, old: str, new: str, directory: Path) -> str:
    """Return the shell command that shows a changed copy in a source file's place."""
    text = file.read_text()
    assert text.count(old) == 1
    copy = directory / file.name
    copy.write_text(text.replace(old, new))
    return f"mount --bind {copy} {file}"


def test_no_uapi_headers(tmp_path: Path) -> None:
    """Without libc's headers the reason names them and where they come from."""
    told = load_where(f"mount -t tmpfs none {headers.UAPI}", tmp_path / "cache")
    assert told == "no UAPI headers in /usr/include (Debian: package linux-libc-dev)"


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    """A cache directory that cannot be made is named."""
    (tmp_path / "file").touch()
    told = load_where("true", tmp_path / "file" / "cache")
    assert str(tmp_path / "file") in told


def test_sources_that_do_not_compile(tmp_path: Path, cache: Path) -> None:
    """C that does not compile is one line, not the compiler's pages."""
    file = loader.source_directory() / "lineage.c"
    told = load_where(replaced(file, "int on_newtask(", "int on_newtask(((", tmp_path), cache)
    assert "compile" in told


def test_sources_that_the_verifier_refuses(tmp_path: Path, cache: Path) -> None:
    """A program that the kernel refuses is named, with the kernel's reason."""
    file = loader.source_directory() / "calls.c"
    line = "  u64 nr = ctx->args[1];\n"
    told = load_where(replaced(file, line, f"{line}  ctx->args[1] = 1;\n", tmp_path), cache)
    assert "on_sys_enter" in told
    assert "Permission denied" in told


def test_drops_that_the_verifier_refuses(tmp_path: Path, cache: Path) -> None:
    """Births do without what counts drops where the kernel refuses that, and the reason is known."""
    file = loader.source_directory() / "drops.c"
    line = "  u64 skb = ctx->args[0], device"
    told = load_where(replaced(file, line, f"  ctx->args[0] = 1;\n{line}", tmp_path), cache)
    assert told.startswith("without drops: program on_kfree_skb: Permission denied")


def test_drops_that_the_kernels_types_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Births do without drops where the kernel lacks a member that these take."""

    def lacks(_: btf.KernelTypes, struct: str, member: str) -> int:
        raise btf.BtfError(f"the kernel's struct {struct} has no member {member}")

    types = btf.KernelTypes()
    monkeypatch.setattr(btf.KernelTypes, "offset", lacks)
    told = loader._with_drops(types, {"DROPS": 1, "RING_PAGES": 512})
    assert told == ({"RING_PAGES": 512}, "the kernel's struct inode has no member i_private")


def test_drops_that_were_not_asked_for(cache: Path) -> None:
    """What was not asked for is neither compiled nor loaded, and nothing is said of it."""
    probes = Loading(cache, Sizes()).finish()
    assert (probes.drops, probes.why_no_drops) == (None, "")
    assert not {"drops", "networks", "pod_networks", "pod_drops", "drop_locations"} & probes.maps.keys()
    assert "on_kfree_skb" not in probes.runs()
    probes.close()


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("  u32 vpid;\n", "  u64 vpid;\n", "record: expected ['vpid'"),
        ("  u64 compat; ", "  u32 compat; ", "counters: expected ['compat'"),
        ("  u32 entered; ", "  u64 entered; ", "process: expected ['entered'"),
    ],
)
def test_layout_that_differs(tmp_path: Path, cache: Path, old: str, new: str, names: str) -> None:
    """C structs that are not what Python decodes and writes are refused, naming the struct and the field."""
    told = load_where(replaced(loader.source_directory() / "include" / "record.h", old, new, tmp_path), cache)
    assert names in told


def test_loader_that_is_killed(cache: Path) -> None:
    """A loader that ends without a word is told with its status."""
    before = open_descriptors()
    loading = Loading(cache, Sizes())
    loading._process.kill()
    with pytest.raises(ProbesError, match=r"^the loader ended with status -9 and no word$"):
        loading.finish()
    assert open_descriptors() == before


def test_closing(cache: Path, programs: Path) -> None:
    """Closing detaches everything and gives every descriptor back."""
    before = open_descriptors()
    probes = Loading(cache, Sizes(), drops=True).finish()
    assert probes.drops is not None
    probes.drops.attach()
    probes.enable_run_statistics()
    name = f"{DAEMON}-closing"[:15]
    probes.name_daemons({name: RUNTIME_DAEMON})
    probes.attach()
    with Daemon(programs, name) as daemon:
        daemon.run("runc create x")
        assert probes.counters().sent > 0
        assert len(list(probes.events())) == probes.received > 0
        probes.detach()
        sent = probes.counters()
        daemon.run("runc create x", repeat(1_000, "umount2", "s:/nonexistent", 0))
        assert probes.counters() == sent
        assert list(probes.events()) == []
    probes.close()
    assert open_descriptors() == before


def test_kernel_memory(probes: Probes) -> None:
    """Every map's kernel memory is known."""
    told = probes.memory_bytes()
    assert told.keys() == probes.maps.keys()
    assert told["records"] > 2 << 20
    assert sum(told.values()) < 48 << 20


def test_drawn_opens(cache: Path, programs: Path) -> None:
    """On request openat and openat2 are drawn, and counted as before."""
    probes = Loading(cache, Sizes(), draw_openat=True).finish()
    name = f"{DAEMON}-opens"[:15]
    probes.name_daemons({name: RUNTIME_DAEMON})
    probes.attach()
    kernel = Kernel(probes, programs, name)
    ran = kernel.daemon().run("runc create x", repeat(3, "openat", -100, "s:/nonexistent", 0))
    seen = kernel.seen()
    assert [(each.target, each.return_value) for each in seen.calls("openat", ran.pid)] == [("/nonexistent", -2)] * 3
    assert (seen.end(ran.pid).openat, seen.end(ran.pid).openat_errors) == (3, 3)
    kernel.stop()
    probes.close()


def test_tracepoint_that_is_not_there(probes: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A raw tracepoint that this kernel lacks is told with the reason, and the others are attached all the same."""
    monkeypatch.setitem(probes._tracepoints, "on_newtask", "no_such_tracepoint")
    links = len(probes._links)
    told = {each.tracepoint: each.error for each in probes.attach()}
    assert told["no_such_tracepoint"] == "No such file or directory"
    assert [name for name, error in told.items() if error] == ["no_such_tracepoint"]
    while len(probes._links) > links:
        os.close(probes._links.pop())


def test_deadline(cache: Path) -> None:
    """A loader that hangs is given up."""
    loading = Loading(cache, Sizes())
    loading._process.send_signal(signal.SIGSTOP)
    loading._channel.settimeout(0.2)
    with pytest.raises(ProbesError, match="timed out"):
        loading.finish()
    assert loading._process.returncode == -9
