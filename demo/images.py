"""Images without a registry: OCI layouts made of local static programs, to be imported into containerd."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PAUSE = "registry.local/pause:3.9"
BUSYBOX = "registry.local/busybox:1"
BUSYBOX_PROGRAM = Path("/bin/busybox")  # Debian's busybox-static
APPLETS = [
    "sh",
    "sleep",
    "cat",
    "ls",
    "echo",
    "true",
    "false",
    "yes",
    "dd",
    "mount",
    "unshare",
    "nc",
    "tail",
    "timeout",
]
DIRECTORIES = ("bin", "dev", "etc", "proc", "sys", "tmp")
OCI = "application/vnd.oci.image"
GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}  # OCI names architectures as Go does


@dataclass(frozen=True, slots=True)
class Image:
    """An image to be: which local files it holds under which path, and what it runs."""

    reference: str
    entry_point: tuple[str, ...]
    files: Mapping[str, Path]
    links: Mapping[str, str] = field(default_factory=dict)  # path -> target


def busybox(reference: str = BUSYBOX, further: Mapping[str, Path] | None = None) -> Image:
    """Return the image of the lab's containers; `further` adds static programs of one's own."""
    files = {"bin/busybox": BUSYBOX_PROGRAM} | dict(further or {})
    return Image(reference, ("/bin/sleep", "3600"), files, {f"bin/{applet}": "busybox" for applet in APPLETS})


def pause(directory: Path) -> Image:
    """Compile the sandbox's program into the directory and return its image."""
    return Image(PAUSE, ("/pause",), {"pause": compile_static(Path(__file__).with_name("pause.c"), directory)})


def compile_static(source: Path, directory: Path) -> Path:
    """Compile one C file to a static program in the directory and return its path."""
    program = directory / source.stem
    subprocess.run(["gcc", "-O1", "-static", "-o", program, source], check=True, timeout=60)
    return program


def write_layout(image: Image, path: Path) -> None:
    """Write the image as a tar of an OCI image layout, which `ctr images import` reads."""
    layer = _layer(image)
    config = _json(
        architecture=GO_NAMES.get(platform.machine(), platform.machine()),
        os="linux",
        config={"Entrypoint": image.entry_point, "Env": ["PATH=/bin"]},
        rootfs={"type": "layers", "diff_ids": [_digest(layer)]},
    )
    manifest = _json(
        schemaVersion=2,
        mediaType=f"{OCI}.manifest.v1+json",
        config=_descriptor(f"{OCI}.config.v1+json", config),
        layers=[_descriptor(f"{OCI}.layer.v1.tar", layer)],
    )
    name = {"io.containerd.image.name": image.reference}
    index = _json(schemaVersion=2, manifests=[_descriptor(f"{OCI}.manifest.v1+json", manifest) | {"annotations": name}])
    blobs = {"blobs/" + _digest(blob).replace(":", "/"): blob for blob in (layer, config, manifest)}
    with tarfile.open(path, "w") as layout:
        _add(layout, {"oci-layout": _json(imageLayoutVersion="1.0.0"), "index.json": index} | blobs)


def _layer(image: Image) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for directory in DIRECTORIES:
            layer.addfile(_entry(directory, kind=tarfile.DIRTYPE))
        _add(layer, {path: program.read_bytes() for path, program in image.files.items()})
        for path, target in image.links.items():
            layer.addfile(_entry(path, kind=tarfile.SYMTYPE, target=target))
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        archive.addfile(_entry(path, size=len(data)), io.BytesIO(data))


def _entry(path: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.size, entry.linkname, entry.mode = kind, size, target, 0o755
    return entry


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()
