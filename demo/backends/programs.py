"""The backends' programs, built from Go modules once and kept in the user's cache."""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from demo.go_builds import BUILD_LIMIT_S, Module, build_once, built, built_tools, run_go

HERE = Path(__file__).parent
CONFIGURATIONS = HERE.parent.parent / "collector-config"
COLLECTOR = "otelcol-otel-kernel"
OCB = Module(
    path="go.opentelemetry.io/collector/cmd/builder",
    version="v0.159.0",
    digest="h1:5pq4bsa/Y26aQqpZKLQxdwrIDDSCrybk+BjVkKmNqow=",
    packages=(".",),
    programs=("builder",),
    linker_flags="-s -w",
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Where they are."""

    collector: Path
    jaeger: Path
    prometheus: Path
    promtool: Path


def programs() -> Programs:
    """Return the programs, built if they are not in the cache yet (cold: some 20 minutes on two cores).

    Raises RuntimeError when Go is absent, a download is not the pinned one, or a build fails.
    """
    prometheus = built_tools(HERE / "prometheus", "prometheus", "v0.315.0", "-s -w")
    jaeger = built_tools(HERE / "jaeger", "jaeger", "v1.76.0", "-s -w")
    return Programs(collector(), jaeger / "jaeger", prometheus / "prometheus", prometheus / "promtool")


def collector() -> Path:
    """Return the collector of collector-config/builder.yaml; its go.mod and go.sum pin every module it is made of."""
    manifest, locked = CONFIGURATIONS / "builder.yaml", CONFIGURATIONS / "locked"
    pins = [manifest.read_bytes(), *((locked / name).read_bytes() for name in ("go.mod", "go.sum"))]
    fingerprint = hashlib.sha256(b"".join(pins)).hexdigest()[:12]

    def build(output: Path) -> None:
        with tempfile.TemporaryDirectory() as sources:
            _generate(manifest, Path(sources))
            for name in ("go.mod", "go.sum"):
                shutil.copy(locked / name, sources)
            flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-tags=grpcnotrace"]
            arguments = ["build", *flags, "-o", str(output / COLLECTOR), "."]
            run_go(arguments, Path(sources), BUILD_LIMIT_S, {"CGO_ENABLED": "0"})

    return build_once(f"{COLLECTOR}-{fingerprint}", "the collector", build) / COLLECTOR


def _generate(manifest: Path, sources: Path) -> None:
    """Let ocb write the collector's sources; the manifest says where to, relative to where ocb runs."""
    (sources / "builder.yaml").write_text(manifest.read_text().replace("./_build", str(sources)))
    arguments = ["--skip-compilation", "--skip-get-modules", "--config", str(sources / "builder.yaml")]
    ended = subprocess.run(
        [built(OCB) / "builder", *arguments], cwd=sources, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RuntimeError(f"ocb: {ended.stderr[-500:]}")


if __name__ == "__main__":
    programs()
