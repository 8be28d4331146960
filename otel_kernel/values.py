"""What the text of a setting may say: each kind knows how to read it and how to tell a person what is allowed."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import unquote, urlsplit

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

NS_PER_S = 1_000_000_000
LONGEST_DURATION_S = 86_400
LONGEST_SHOWN = 100
LARGEST_PORT = 65_535


@dataclass(frozen=True)
class Kind(Generic[T_co]):
    """A kind of value.

    `parse` raises ValueError for text that is not `allowed`; `holds` asks this machine whether the parsed value is.
    """

    allowed: str
    parse: Callable[[str], T_co]
    holds: Callable[[Any], bool] = lambda _: True
    secret: bool = False  # never shown


@dataclass(frozen=True)
class Output:
    """Where births go."""

    kind: Literal["otlp", "terminal", "file"]
    path: Path | None = None  # of a file


def shown(text: str, longest: int = LONGEST_SHOWN) -> str:
    """Return text as it may stand in one line of a terminal: no control characters, not endless."""
    cut = text if len(text) <= longest else text[:longest] + "..."
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in cut)


def _matching(pattern: str, allowed: str) -> Kind[str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(allowed, parse)


def one_of(*choices: T) -> Kind[T]:
    """Return the kind of one word out of a few."""
    by_text = {str(choice): choice for choice in choices}

    def parse(text: str) -> T:
        if text not in by_text:
            raise ValueError(text)
        return by_text[text]

    return Kind(", ".join(by_text), parse)


def list_of(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """Return the kind of a comma list without repetitions."""

    def parse(text: str) -> tuple[T, ...]:
        items = tuple(kind.parse(item.strip()) for item in text.split(",")) if text else ()
        if len(set(items)) != len(items):
            raise ValueError(text)
        return items

    return Kind(f"a comma list, each once, of: {kind.allowed}", parse)


def either(word: str, kind: Kind[T]) -> Kind[T | str]:
    """Return the kind that is this one word or another kind."""
    return Kind(f"{word}, or {kind.allowed}", lambda text: word if text == word else kind.parse(text))


def whole_number(low: int, high: int, unit: str = "") -> Kind[int]:
    """Return the kind of whole numbers from low to high."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return Kind(f"a whole number {unit}from {low} to {high}", parse)


def _duration_ns(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", text):
        raise ValueError(text)
    whole, _, fraction = text.partition(".")
    duration_ns = int(whole) * NS_PER_S + int(fraction.ljust(9, "0"))
    if not 0 < duration_ns <= LONGEST_DURATION_S * NS_PER_S:
        raise ValueError(text)
    return duration_ns


def _absolute_path(text: str) -> Path:
    if not text.startswith("/") or "\0" in text:
        raise ValueError(text)
    return Path(text)


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError(text)
    return Path(text)


def _is_readable_directory(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.R_OK | os.X_OK)


def _is_readable_file(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _output(text: str) -> Output:
    if text == "otlp":
        return Output("otlp")
    if text == "terminal":
        return Output("terminal")
    kind, _, path = text.partition(":")
    if kind != "file" or not path:
        raise ValueError(text)
    return Output("file", _path(path))


def _endpoint(text: str) -> str:
    url = urlsplit(text if "://" in text else f"//{text}")
    host_without_scheme = not url.scheme and not url.path and not url.query
    if not url.hostname or not (url.scheme in {"http", "https"} or host_without_scheme) or url.fragment:
        raise ValueError(text)
    if not text.isprintable() or " " in text or url.port == 0:  # .port itself raises for what is no port
        raise ValueError(text)
    return text


def _url(text: str) -> str:
    if "://" not in text:
        raise ValueError(text)
    return _endpoint(text)


def _listening(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"\[[0-9a-fA-F:.]+\]|[\w.-]+", host, re.ASCII) or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(text)
    if not 0 < int(port) <= LARGEST_PORT:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Return `key=value,key=value`, percent-decoded (OpenTelemetry specification: resource SDK, OTLP exporter)."""
    pairs = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = item.partition("=")
        decoded = unquote(value.strip(), errors="strict")
        if not equals or not re.fullmatch(r"[!-~]+", key.strip()) or not decoded.isprintable():
            raise ValueError(text)
        pairs[unquote(key.strip())] = decoded
    return tuple(pairs.items())


ON_OFF = Kind("on or off", lambda text: one_of("on", "off").parse(text) == "on")
TRUE_FALSE = Kind("true or false", lambda text: one_of("true", "false").parse(text.lower()) == "true")
DURATION = Kind(f"seconds, a decimal number without unit above 0, at most {LONGEST_DURATION_S}", _duration_ns)
MILLISECONDS = whole_number(1, LONGEST_DURATION_S * 1000, "of milliseconds ")
PATH = Kind("a path", _path)
DIRECTORY = Kind("the absolute path of a readable directory", _absolute_path, _is_readable_directory)
READABLE_FILE = Kind("the path of a readable file", _path, _is_readable_file)
OUTPUT = Kind("otlp, terminal or file:PATH", _output)
ENDPOINT = Kind("http://HOST:PORT, https://HOST:PORT, or for gRPC HOST:PORT", _endpoint)
URL = Kind("http://HOST/PATH or https://HOST/PATH", _url)
LISTENING = Kind("HOST:PORT", _listening)
SECRET_PAIRS = Kind("key=value,key=value with percent-encoded values", _pairs, secret=True)
PAIRS = Kind("key=value,key=value with percent-encoded values", _pairs)
EXECUTABLE = _matching(r"[^\x00-\x20\x7f/,]{1,255}", "the name of an executable, without directories")
SYSCALL = _matching(r"[a-z_][a-z0-9_]{0,31}", "the name of a system call")
FUNCTION = _matching(r"[A-Za-z_][A-Za-z0-9_]{0,127}", "the name of one function of the kernel, no wildcards")
KUBERNETES_KEY = _matching(
    r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", "the key of a label or annotation"
)
NODE = _matching(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", "a node's name: letters, digits, dots and dashes")
SERVICE = Kind("1 to 255 printable characters", _matching(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}", "").parse)
