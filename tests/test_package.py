"""What an installed package holds."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parent.parent


def test_wheel_holds_the_c_sources(tmp_path: Path) -> None:
    """Every C file of bpf/ is in the wheel, beside the modules that compile it, and nothing else."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in ROOT.joinpath("bpf").rglob("*.[ch]")}
    assert sources
    assert {f"otel_kernel/{source}" for source in sources} <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"otel_kernel"}
