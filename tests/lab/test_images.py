"""Images made without a registry are valid OCI layouts."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from demo.images import Image, write_layout


def test_a_layout_describes_its_blobs(tmp_path: Path) -> None:
    """Index, manifest, configuration and layer name each other by digest and size; files and links are in the layer."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    write_layout(Image("registry.local/x:1", ("/bin/x",), {"bin/x": program}, {"bin/y": "x"}), tmp_path / "layout.tar")
    with tarfile.open(tmp_path / "layout.tar") as layout:
        files = {entry.name: read(layout, entry.name) for entry in layout}
    (described,) = json.loads(files["index.json"])["manifests"]
    assert described["annotations"]["io.containerd.image.name"] == "registry.local/x:1"
    manifest = json.loads(blob(files, described))
    configuration = json.loads(blob(files, manifest["config"]))
    layer = blob(files, manifest["layers"][0])
    assert configuration["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(layer).hexdigest()]
    assert configuration["config"]["Entrypoint"] == ["/bin/x"]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tree:
        assert read(tree, "bin/x") == b"\x7fELF"
        assert tree.getmember("bin/y").linkname == "x"


def read(archive: tarfile.TarFile, name: str) -> bytes:
    """Return a file's content."""
    file = archive.extractfile(name)
    return file.read() if file else b""


def blob(files: dict[str, bytes], described: dict[str, str | int]) -> bytes:
    """Return the blob that a descriptor names, having checked its digest and size."""
    digest = str(described["digest"]).removeprefix("sha256:")
    content = files[f"blobs/sha256/{digest}"]
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == described["size"]
    return content
