"""docs/settings.md, made from the settings: `python -m otel_kernel.reference > docs/settings.md`."""

import re
import sys
from collections.abc import Iterator
from itertools import groupby

from otel_kernel.declaration import Setting, catalogue, title_of
from otel_kernel.settings import Settings

SIGNAL = re.compile("(TRACES|METRICS|LOGS)(?=_)")  # all have the same variables: one row for three
HEAD = """\
# Settings

Made from `otel_kernel/settings.py` by `python -m otel_kernel.reference`.

Every setting is an environment variable; those with an option can be given as an argument of `otel-kernel run` and
`otel-kernel check` too, which wins. An empty value counts as unset. Durations of `OTEL_KERNEL_*` are seconds, `OTEL_*`
stay milliseconds; switches take `on` or `off`. A value that is not allowed, or an `OTEL_KERNEL_*` variable that does
not exist, is refused at start with one line and exit status 2. Where two variables are named, the first that is set
wins.
"""


def page() -> str:
    """Return the page as markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield HEAD
    for group, declared in groupby(catalogue(Settings), key=lambda found: found[0]):
        yield f"## {title_of(group)}\n"
        yield "| variable | option | allowed | unset | meaning |"
        yield "|---|---|---|---|---|"
        yield from dict.fromkeys(_row(setting) for _, setting in declared)
        yield ""


def _row(setting: Setting) -> str:
    variables = ", ".join(f"`{SIGNAL.sub('{TRACES,METRICS,LOGS}', variable)}`" for variable in setting.variables)
    option = f"`{setting.option}`" if setting.option else ""
    return f"| {variables} | {option} | {setting.kind.allowed} | {setting.unset} | {setting.meaning} |"


if __name__ == "__main__":
    sys.stdout.write(page())
