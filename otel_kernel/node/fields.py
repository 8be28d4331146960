"""Files of `name value` lines, as cgroups have many. A line without its newline is half a line, and says nothing."""

# 2^64 - 1: the kernel has no larger number to tell.
_MOST_DIGITS = 20


def field(content: bytes, name: bytes) -> int | None:
    """Return the value of the line `name value`; None when there is none, or it is no whole number."""
    prefix = name + b" "
    at = 0 if content.startswith(prefix) else content.find(b"\n" + prefix) + 1
    if at == 0 and not content.startswith(prefix):
        return None
    end = content.find(b"\n", at)
    return number(content[at + len(prefix) : end]) if end >= 0 else None


def line(content: bytes) -> bytes | None:
    """Return the only line of a file; None when it is not whole."""
    text, newline, rest = content.partition(b"\n")
    return text if newline and not rest else None


def number(text: bytes) -> int | None:
    """Return a whole number without sign; None for anything else."""
    return int(text) if text.isdigit() and len(text) <= _MOST_DIGITS else None
