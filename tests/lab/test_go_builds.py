"""Programs from Go modules are built once, and only from what was pinned."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from demo import go_builds
from demo.go_builds import RUNC, built, built_tools


def test_a_module_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another digest ends the build before anything is compiled."""
    told = json.dumps({"Sum": "h1:other", "Dir": str(tmp_path)})
    monkeypatch.setattr(go_builds, "run_go", lambda *_: told)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"is h1:other, pinned is h1:"):
        built(RUNC)


def test_what_was_built_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is keyed by version."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(go_builds, "run_go", lambda *_: pytest.fail("built again"))
    directory = tmp_path / "otel-kernel/go/runc-v9.9.9"
    directory.mkdir(parents=True)
    assert built(replace(RUNC, version="v9.9.9")) == directory


def test_tools_of_a_go_mod_are_built_by_its_go_sum_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the go.sum does not pin is taken, and the second call builds nothing."""
    asked: list[list[str]] = []

    def go(arguments: list[str], directory: Path, *_: object) -> str:
        assert directory == tmp_path
        asked.append(arguments)
        return ""

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(go_builds, "run_go", go)
    first = built_tools(tmp_path, "tools", "v1", "-s")
    assert built_tools(tmp_path, "tools", "v1", "-s") == first
    (arguments,) = asked
    assert "-mod=readonly" in arguments
    assert arguments[-1] == "tool"
