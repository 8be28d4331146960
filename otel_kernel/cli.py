"""The command line: arguments to settings, settings to commands, commands to exit statuses."""

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import groupby
from typing import Any, NoReturn

from otel_kernel import __version__
from otel_kernel.declaration import Setting, SettingsError, catalogue, title_of
from otel_kernel.settings import Settings
from otel_kernel.values import shown

WRONG_INPUT = 2
BROKEN_PIPE = 141  # as a shell tells of SIGPIPE
LONGEST_COMPLAINT = 400

DESCRIPTION = """\
What only the kernel knows about Kubernetes pods, said in OpenTelemetry: a birth is a trace, a life is metrics.

commands:
  run          the agent: watch this node's pods, their births and their lives, until SIGTERM or SIGINT
  check        try every probe here, say which signals are real and what would enable the others
  show FILE    draw births from a file of OTLP JSON lines
  bridge       OTLP in, an operator's webhook out: births and throttling, each told at most once
"""

EXAMPLES = """\
examples:
  otel-kernel check                                      what works on this node?
  otel-kernel run                                        births and events in the terminal (as root)
  otel-kernel run --output file:births.jsonl,terminal    and kept, with metrics
  otel-kernel show births.jsonl --calls spans            every call of them
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 otel-kernel run

exit status:
  run      0 ended by a signal, 1 could not go on, 2 a wrong setting or no eBPF where it is required
  check    0 the birth trace works, 1 only its fallback from files does, 2 nothing does
  show     0 drawn, 1 some lines were not OTLP or no birth was there, 2 no such file
  bridge   0 ended by a signal, 2 a wrong setting, a state directory in use or an address that is taken

Settings come from the environment and from arguments: otel-kernel run --help
"""

SETTINGS = """\
An argument beats its variable. Durations are seconds, switches `on` or `off`. The standard OTEL_* variables
(OTEL_EXPORTER_OTLP_ENDPOINT, ..._HEADERS, ..._CERTIFICATE, OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME, ...) hold as
everywhere. All of them: docs/settings.md
"""


class OneLineParser(ArgumentParser):
    """An argument parser whose complaints are one line, and which guesses nothing."""

    def __init__(self, **words: Any) -> None:  # noqa: ANN401  # those of ArgumentParser
        super().__init__(formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False, **words)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end with the status of wrong input."""
        self.exit(WRONG_INPUT, f"{self.prog}: {shown(message, LONGEST_COMPLAINT)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status of the command that the arguments (by default the process's own) name."""
    arguments = _parsed(sys.argv[1:] if argv is None else argv)
    try:
        status: int = arguments.command(arguments)
    except SettingsError as error:
        print(f"otel-kernel: {error}", file=sys.stderr)
        return WRONG_INPUT
    except BrokenPipeError:  # a reader that goes away (`| head`) is not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status


def _run(arguments: Namespace) -> int:
    settings = _settings(arguments)
    from otel_kernel.agent import run  # noqa: PLC0415  # what only shows a file needs no gRPC

    for notice in settings.notices:
        print(f"otel-kernel: {notice}", file=sys.stderr)
    return run(settings)


def _check(arguments: Namespace) -> int:
    settings = _settings(arguments)
    from otel_kernel.check import check  # noqa: PLC0415  # as above

    return check(settings, as_json=arguments.json)


def _show(arguments: Namespace) -> int:
    from otel_kernel.view.show import show  # noqa: PLC0415  # as above

    return show(arguments.file, calls=arguments.calls, trace=arguments.trace, stdout=sys.stdout)


def _bridge(arguments: Namespace) -> int:
    settings = _settings(arguments)
    from otel_kernel.bridge.service import bridge  # noqa: PLC0415  # the agent needs no HTTP server in its memory

    return bridge(settings.bridge)


def _settings(arguments: Namespace) -> Settings:
    given = {name: text for name, text in vars(arguments).items() if name.isupper() and text is not None}
    return Settings.load(os.environ, given)


def _parsed(argv: Sequence[str]) -> Namespace:
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [setting.option for _, setting in catalogue(Settings) if setting.option]
        near = get_close_matches(unknown[0].partition("=")[0], options, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"unknown argument '{unknown[0]}'{hint}")
    if "command" not in arguments:
        parser.error("a command is needed: run, check, show FILE or bridge")
    return arguments


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="otel-kernel",
        usage="otel-kernel [--help] [--version] COMMAND ...",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"otel-kernel {__version__}")
    commands = parser.add_subparsers(prog="otel-kernel", metavar="COMMAND", help=SUPPRESS)

    run = commands.add_parser("run", description="Watch this node's pods being born, until SIGTERM or SIGINT.")
    run.set_defaults(command=_run)
    _add_settings(run)

    check = commands.add_parser("check", description="Try every probe here and say which signals are real and why.")
    check.set_defaults(command=_check)
    check.add_argument("--json", action="store_true", help="for machines")
    _add_settings(check)

    show = commands.add_parser("show", description="Draw births from a file of OTLP JSON lines (`-`: standard input).")
    show.set_defaults(command=_show)
    show.add_argument("file", metavar="FILE", help="as `run --output file:PATH` or a collector writes it")
    show.add_argument(
        "--calls", choices=("spans", "folded"), default="folded", help="every call, or their sums (default)"
    )
    show.add_argument("--trace", metavar="ID", help="only this trace: a pod's UID without dashes")

    bridge = commands.add_parser("bridge", description="OTLP in, an operator's webhook out, until SIGTERM or SIGINT.")
    bridge.set_defaults(command=_bridge)
    _add_settings(bridge)
    return parser


def _add_settings(parser: OneLineParser) -> None:
    parser.usage = f"{parser.prog} [SETTING VALUE] ..."
    parser.epilog = SETTINGS
    for group, declared in groupby(catalogue(Settings), key=lambda found: found[0]):
        section = parser.add_argument_group(title_of(group))
        for _, setting in declared:
            if setting.option:
                section.add_argument(setting.option, dest=setting.variables[0], metavar="VALUE", help=_help(setting))


def _help(setting: Setting) -> str:
    words = f"{setting.meaning} [{setting.variables[0]}; {setting.kind.allowed}; unset: {setting.unset}]"
    return words.replace("%", "%%")
