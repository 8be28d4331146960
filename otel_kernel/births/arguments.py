"""What a command line says about a birth: which tool it is, what it was told to do, and to which container.

Sources: runc(8) and crun(1), containerd's runtime v2 `shim.Run` flags, conmon's `cli.c`, CNI specification section 2.
Arguments are chosen by others: whatever cannot be read is None, never an error and never a guess.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from otel_kernel.kernel.events import Decision, Exec

BIRTH_VERBS = frozenset({"create", "run", "start", "restore"})
RUNTIME_VERBS = BIRTH_VERBS | frozenset(
    "init exec delete kill state list ps pause resume update events features spec checkpoint help".split()
)
KNOWN_RUNTIMES = frozenset(
    "runc crun youki runsc kata-runtime crun-wasm nvidia-container-runtime".split(),
)
REDACTED = "<redacted>"

# Options that take a value, without their dashes.
_RUNTIME_VALUES = frozenset(
    "root log log-format log-level criu rootless cgroup-manager bundle b pid-file console-socket pidfd-socket config f "
    "preserve-fds image-path work-path manage-cgroups-mode empty-ns lsm-profile lsm-mount-context parent-path "
    "status-fd page-server user u".split()
)
_SHIM_VALUES = frozenset("namespace address publish-binary id bundle socket".split())
_CONMON_VALUES = frozenset(
    "b bundle c cid n name p pidfile container-pidfile P conmon-pidfile u cuuid r runtime l log-path log-level "
    "log-size-max log-tag exit-dir exit-command exit-command-arg persist-dir socket-dir-path runtime-arg runtime-opt "
    "exec-process-spec attach-socket-path".split()
)
_CONTAINER_ID = re.compile(r"[A-Za-z0-9_+.-]{1,1024}")
_ID_DIRECTORY = re.compile(r"(?<=/)[0-9a-f]{64}(?=/|$)")  # in the bundles of containerd and CRI-O
_RE_EXECUTED = re.compile(r"/proc/(?:self|thread-self|\d+)/(?:exe|fd/\d+)|/dev/fd/\d+(?:/.*)?|/?memfd:.*")
_POD_DIRECTORY = re.compile(r"/pods/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32})(?:/|$)")
_LONGEST_PROGRAM = 64


class Tool(StrEnum):
    """What a program is to a birth."""

    RUNTIME = "runtime"
    SHIM = "shim"
    CONMON = "conmon"
    CNI = "cni"
    VOLUMES = "volumes"
    OTHER = "other"


class Command(NamedTuple):
    """A command line as far as it concerns births; None: not said, or not readable."""

    tool: Tool
    program: str  # base name, fit to be shown
    verb: str | None = None  # of a runtime or shim; of CNI its command (`ADD`)
    container_id: str | None = None
    bundle: str | None = None  # as given: may be relative to the working directory
    root: str | None = None  # the runtime's state directory
    network_namespace: str | None = None  # CNI_NETNS
    pod_uid: str | None = None  # volumes: from the directory `/pods/<uid>/`

    @property
    def display_name(self) -> str:
        """The process span's name: the program, with the sub-command for runtimes and shims."""
        told = self.tool in {Tool.RUNTIME, Tool.SHIM} and self.verb is not None
        return f"{self.program} {self.verb}" if told else self.program

    @property
    def names_container(self) -> bool:
        """Whether this command line says which unit the process works for."""
        if self.container_id is None:
            return False
        return self.tool is not Tool.RUNTIME or self.verb in BIRTH_VERBS


class CniArguments(NamedTuple):
    """What the environment of a CNI plugin says (CNI specification 1.0, section 2; CNI_ARGS as runtimes fill it)."""

    command: str
    container_id: str | None
    network_namespace: str | None
    pod_uid: str | None
    pod_name: str | None
    pod_namespace: str | None


@lru_cache(maxsize=64)  # who identifies asks, and then who assembles
def command(exec_: Exec) -> Command:
    """Return what the command line of a successful execve says. Never raises."""
    program = program_name(exec_.filename, exec_.arguments)
    if program.startswith("containerd-shim") or exec_.decision is Decision.SHIM_START:
        return _shim(program, exec_)
    if program == "conmon":
        return _conmon(program, exec_)
    # Before the runtimes: a plugin's helpers inherit its environment, and `ipset create NAME` reads as a runtime's.
    said = cni_arguments(exec_.environment)
    if said is not None and exec_.decision is not Decision.RUNTIME:
        return Command(Tool.CNI, program, said.command, said.container_id, network_namespace=said.network_namespace)
    if exec_.decision is Decision.VOLUMES:
        return Command(Tool.VOLUMES, program, pod_uid=_first_pod_uid(exec_.arguments))
    if program in KNOWN_RUNTIMES or exec_.decision is Decision.RUNTIME:
        return _runtime(program, exec_)
    return Command(Tool.OTHER, program)


def program_name(filename: str, arguments: tuple[str, ...]) -> str:
    """Return the base name of the image; of a re-executed one (`/proc/self/exe`, memfd) that of its first argument."""
    path = arguments[0] if arguments and _RE_EXECUTED.fullmatch(filename) else filename
    name = path.rstrip("/").rpartition("/")[2][:_LONGEST_PROGRAM]
    return (name if name.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in name)) or "?"


def cni_arguments(environment: tuple[tuple[str, str], ...]) -> CniArguments | None:
    """Return what CNI_* variables say, or None when there is no CNI_COMMAND."""
    variables = dict(environment)
    told = variables.get("CNI_COMMAND")
    if not told:
        return None
    pairs = dict(pair.partition("=")[::2] for pair in variables.get("CNI_ARGS", "").split(";"))
    return CniArguments(
        command=told,
        container_id=_container_id(variables.get("CNI_CONTAINERID")),
        network_namespace=variables.get("CNI_NETNS") or None,
        pod_uid=pairs.get("K8S_POD_UID") or None,
        pod_name=pairs.get("K8S_POD_NAME") or None,
        pod_namespace=pairs.get("K8S_POD_NAMESPACE") or None,
    )


def pod_uid_in(path: str) -> str | None:
    """Return the pod's UID of a path below the kubelet's `pods` directory, or None."""
    found = _POD_DIRECTORY.search(path)
    return found.group(1) if found else None


def redacted(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arguments with all but option names, absolute paths, sub-commands and hexadecimal ids replaced.

    An allow list, because secrets (`mount -o password=...`) have no shape of their own.
    """
    return arguments[:1] + tuple(_redacted_one(argument) for argument in arguments[1:])


def _redacted_one(argument: str) -> str:
    if argument.startswith("-"):
        option, equals, value = argument.partition("=")
        return option if not equals else f"{option}={_redacted_one(value)}"
    shown = argument in RUNTIME_VERBS or argument.startswith("/") or re.fullmatch(r"[0-9a-f]{32,64}", argument)
    return argument if shown else REDACTED


def _first_pod_uid(arguments: tuple[str, ...]) -> str | None:
    return next((uid for uid in map(pod_uid_in, arguments) if uid), None)


def _container_id(said: str | None) -> str | None:
    return said if said and _CONTAINER_ID.fullmatch(said) else None


def _options(exec_: Exec, with_value: frozenset[str]) -> tuple[dict[str, str], list[str]]:
    # Go's flag package and GNU's getopt agree on what is used here.
    options: dict[str, str] = {}
    positional: list[str] = []
    # The kernel side cuts at a limit: the last argument of a cut list may be half an id.
    rest = iter(exec_.arguments[1:-1] if exec_.truncated else exec_.arguments[1:])
    for argument in rest:
        if argument == "--":
            positional.extend(rest)
        elif argument.startswith("-") and argument != "-":
            name, equals, value = argument.lstrip("-").partition("=")
            options[name] = value if equals or name not in with_value else next(rest, "")
        else:
            positional.append(argument)
    return options, positional


def _shim(program: str, exec_: Exec) -> Command:
    options, positional = _options(exec_, _SHIM_VALUES)
    verb = positional[0] if positional and positional[0] in {"start", "delete"} else None
    bundle = options.get("bundle") or exec_.working_directory or None
    return Command(Tool.SHIM, program, verb, _container_id(options.get("id")), bundle)


def _conmon(program: str, exec_: Exec) -> Command:
    options, _ = _options(exec_, _CONMON_VALUES)
    told = options.get("cid") or options.get("c")
    return Command(Tool.CONMON, program, None, _container_id(told), options.get("bundle") or options.get("b") or None)


def _runtime(program: str, exec_: Exec) -> Command:
    options, positional = _options(exec_, _RUNTIME_VALUES)
    # An option that we do not know may take a value: the first word that is a verb is the sub-command.
    at = next((index for index, word in enumerate(positional) if word in RUNTIME_VERBS), None)
    if at is None:
        return Command(Tool.RUNTIME, program, root=options.get("root") or None)
    told = positional[at + 1] if at + 1 < len(positional) else None
    if told is None and exec_.truncated:
        told = next(iter(_ID_DIRECTORY.findall(options.get("bundle", ""))[-1:]), None)
    bundle = options.get("bundle") or options.get("b") or None
    if bundle is None and positional[at] in {"create", "run", "restore"}:
        bundle = exec_.working_directory or None
    return Command(Tool.RUNTIME, program, positional[at], _container_id(told), bundle, options.get("root") or None)
