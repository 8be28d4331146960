"""Newer runtimes than the distribution's, built from Go modules once and kept in the user's cache."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from demo.containerd import Runtime
from demo.crio import CrioRuntime, pinns

BUILD_LIMIT_S = 3000  # a busy machine of two cores takes a quarter of an hour for the larger ones
DOWNLOAD_LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module at one version. `digest` is its zip's `h1:`; its own go.sum vouches for what it depends on."""

    path: str
    version: str
    digest: str
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    linker_flags: str
    tags: str = ""

    @property
    def title(self) -> str:
        """The name for a person: `containerd 2.2.9`."""
        return f"{self.programs[0]} {self.version.removeprefix('v')}"


RUNC = Module(
    path="github.com/opencontainers/runc",
    version="v1.5.2",
    digest="h1:eUUowc2WJCnFYzI87C1WqRcu356Dk/wsoi90y+2wEfE=",
    packages=(".",),
    programs=("runc",),
    linker_flags="-s -w -X main.version=1.5.2",
    tags="seccomp",
)
CONTAINERD = Module(
    path="github.com/containerd/containerd/v2",
    version="v2.2.9",
    digest="h1:ddw9THGOXhcKnHORjkKoXtazPjwtcPwmqk8AVyRpfZw=",
    packages=("./cmd/containerd", "./cmd/containerd-shim-runc-v2", "./cmd/ctr"),
    programs=("containerd", "containerd-shim-runc-v2", "ctr"),
    linker_flags="-s -w -X github.com/containerd/containerd/v2/version.Version=2.2.9",
)


CRIO = Module(
    path="github.com/cri-o/cri-o",
    version="v1.34.0",
    digest="h1:ux2URwAyENy5e5hD9Z95tshdfy98eqatZk0fxx3rhuk=",
    packages=("./cmd/crio",),
    programs=("crio",),
    linker_flags="-s -w",
    tags="containers_image_ostree_stub containers_image_openpgp exclude_graphdriver_btrfs btrfs_noversion seccomp",
)


def crio() -> CrioRuntime:
    """Return CRI-O, built if it is not in the cache yet."""

    def build(output: Path) -> None:
        source = _download(CRIO)
        run_go(_build_arguments(CRIO, output), source, BUILD_LIMIT_S)
        pinns(source / "pinns" / "src", output)

    directory = build_once(f"crio-{CRIO.version}", CRIO.title, build)
    return CrioRuntime(directory / "crio", directory / "pinns")


def containerd_2() -> Runtime:
    """Return containerd 2.x with runc 1.5, built if they are not in the cache yet."""
    directory = built(CONTAINERD)
    return Runtime(directory / "containerd", directory / "ctr", configuration_version=3, runc=built(RUNC) / "runc")


def built(module: Module) -> Path:
    """Return the directory of the module's programs; build them if they are not there.

    Raises RuntimeError when Go is absent, the download is not the pinned one, or the build fails.
    """

    def build(output: Path) -> None:
        run_go(_build_arguments(module, output), _download(module), BUILD_LIMIT_S)

    return build_once(f"{module.programs[0]}-{module.version}", module.title, build)


def built_tools(pins: Path, name: str, version: str, linker_flags: str) -> Path:
    """Return the directory of the `tool` programs of the go.mod in `pins`; build them if they are not there.

    For programs whose own module cannot be built by itself: the go.sum beside that go.mod pins every module they are
    made of. Raises RuntimeError when Go is absent, a download is not the pinned one, or the build fails.
    """

    def build(output: Path) -> None:
        flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", f"-ldflags={linker_flags}"]
        run_go(["build", *flags, "-o", f"{output}/", "tool"], pins, BUILD_LIMIT_S, {"CGO_ENABLED": "0"})

    return build_once(f"{name}-{version}", f"{name} {version.removeprefix('v')}", build)


def build_once(name: str, title: str, build: Callable[[Path], None]) -> Path:
    """Return the cache's directory of that name, filled by `build` if it is not there."""
    directory = _cache() / name
    if directory.is_dir():
        return directory
    _say(f"building {title} from its Go module ...")
    began = time.monotonic()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        output = Path(temporary) / "bin"
        output.mkdir()
        build(output)
        if not directory.is_dir():  # another process may have been quicker
            output.rename(directory)
    _say(f"built {title} in {time.monotonic() - began:.0f} s: {directory}")
    return directory


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-kernel" / "go"


def _download(module: Module) -> Path:
    """Return the module's source directory in Go's own cache, once its digest is the pinned one."""
    answer = run_go(["mod", "download", "-json", f"{module.path}@{module.version}"], Path("/"), DOWNLOAD_LIMIT_S)
    told = json.loads(answer)
    if told.get("Sum") != module.digest:
        raise RuntimeError(f"{module.path}@{module.version} is {told.get('Sum')}, pinned is {module.digest}")
    return Path(told["Dir"])


def _build_arguments(module: Module, output: Path) -> list[str]:
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", f"-ldflags={module.linker_flags}", f"-tags={module.tags}"]
    return ["build", *flags, "-o", f"{output}/", *module.packages]


def run_go(
    arguments: list[str], directory: Path, limit_s: int, settings: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Run go and return its output. The checksum database is not asked: the pinned digests stand for it."""
    environment = os.environ | {"GOFLAGS": "", "GOSUMDB": "off", "GOWORK": "off", "CGO_ENABLED": "1", **settings}
    try:
        return subprocess.run(
            ["go", *arguments],
            cwd=directory,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=limit_s,
        ).stdout
    except FileNotFoundError:
        raise RuntimeError("go is not installed") from None
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"go {arguments[0]}: not done within {limit_s} s") from None
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"go {arguments[0]}: {error.stderr[-500:] or error.stdout[-500:]}") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
