"""How settings are declared, as fields of frozen dataclasses, and read from environment and arguments."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

from otel_kernel.values import Kind, shown

T = TypeVar("T")
Group = TypeVar("Group")

PREFIX = "OTEL_KERNEL_"

# Kubernetes gives every pod such variables for each Service of its namespace, also for one called `otel-kernel`.
SERVICE_LINK = re.compile(
    r"[A-Z0-9_]+_(SERVICE_HOST=.*|SERVICE_PORT(_[A-Z0-9_]+)?=[0-9]+|PORT(_[0-9]+_[A-Z]+)?=[a-z]+://.*"
    r"|PORT_[0-9]+_[A-Z]+_(PROTO|PORT|ADDR)=.*)",
    re.DOTALL,
)


class SettingsError(Exception):
    """A setting that cannot be: one line for the operator."""


@dataclass(frozen=True)
class Setting:
    """What is known of one setting."""

    variables: tuple[str, ...]  # the first that is set wins
    kind: Kind[Any]
    meaning: str
    unset: str  # what holds when it is not set, in words

    def about(self, word: str) -> "Setting":
        """Return the setting with this word in its variables where they leave room for one."""
        return replace(self, variables=tuple(variable.format(word) for variable in self.variables))

    @property
    def option(self) -> str | None:
        """The argument that says the same; None for standard variables."""
        variable = self.variables[0]
        return "--" + variable.removeprefix(PREFIX).lower().replace("_", "-") if variable.startswith(PREFIX) else None


def setting(variables: str | tuple[str, ...], kind: Kind[T], default: str, meaning: str) -> T:
    """Return the field of a setting that always has a value."""
    declared = Setting(_names(variables), kind, meaning, default or "none")
    return field(default=kind.parse(default), repr=not kind.secret, metadata={"setting": declared})


def for_each_of(group: type[Group], word: str) -> Group:
    """Return the field of a group in whose variables `{}` stands for this word."""
    return field(default_factory=group, metadata={"word": word})


def optional(variables: str | tuple[str, ...], kind: Kind[T], meaning: str, unset: str = "none") -> T | None:
    """Return the field of a setting that is None unless it is set; `unset` tells a person what that means."""
    return field(default=None, metadata={"setting": Setting(_names(variables), kind, meaning, unset)})


def _names(variables: str | tuple[str, ...]) -> tuple[str, ...]:
    return (variables,) if isinstance(variables, str) else variables


def catalogue(group: type[Any], word: str = "") -> Iterator[tuple[type[Any], Setting]]:
    """Return every setting with the group it belongs to."""
    for each in fields(group):
        if "setting" in each.metadata:
            yield group, each.metadata["setting"].about(word)
        elif isinstance(each.type, type) and is_dataclass(each.type):
            yield from catalogue(each.type, each.metadata.get("word", ""))


def title_of(group: type[Any]) -> str:
    """Return what a group of settings is about: the first line of its docstring."""
    return (group.__doc__ or group.__name__).splitlines()[0].rstrip(".")


def read(group: type[Group], environ: Mapping[str, str], arguments: Mapping[str, str]) -> Group:
    """Return the dataclass as the environment and the arguments (by variable name), which beat it, say.

    Raises SettingsError for the first value that is not allowed and for an OTEL_KERNEL_ variable that does not exist.
    """
    known = {variable: each for _, each in catalogue(group) for variable in each.variables}
    _refuse_unknown(environ, known)
    given = {variable: _Given(variable, text) for variable, text in environ.items() if variable in known}
    given |= {variable: _Given(f"{known[variable].option} ({variable})", text) for variable, text in arguments.items()}
    return _filled(group, {variable: each for variable, each in given.items() if each.text})


@dataclass(frozen=True)
class _Given:
    said: str  # the variable or the option, as somebody wrote it
    text: str


def _refuse_unknown(environ: Mapping[str, str], known: Mapping[str, Setting]) -> None:
    for variable, text in environ.items():
        ours = variable.startswith(PREFIX) and not SERVICE_LINK.fullmatch(f"{variable}={text}")
        if text and ours and variable not in known:
            near = get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{shown(variable)}='{shown(text)}' is not allowed: there is no such setting{hint}")


def _filled(group: type[Group], given: Mapping[str, _Given], word: str = "") -> Group:
    told: dict[str, Any] = {}
    for each in fields(group):  # type: ignore[arg-type]  # a type variable cannot be bound to "a dataclass"
        if isinstance(each.type, type) and is_dataclass(each.type):
            told[each.name] = _filled(each.type, given, each.metadata.get("word", ""))
        elif "setting" in each.metadata:
            declared = each.metadata["setting"].about(word)
            winner = next((variable for variable in declared.variables if variable in given), None)
            told |= {each.name: _value(declared, given[winner])} if winner else {}
    return group(**told)


def _value(setting: Setting, given: _Given) -> Any:  # noqa: ANN401  # of the kind's type
    try:
        value = setting.kind.parse(given.text)
        allowed = setting.kind.holds(value)
    except (ValueError, OSError):
        allowed = False
    if not allowed:
        text = "(not shown)" if setting.kind.secret else f"'{shown(given.text)}'"
        raise SettingsError(f"{given.said}={text} is not allowed; allowed: {setting.kind.allowed}")
    return value
