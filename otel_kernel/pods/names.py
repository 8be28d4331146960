"""Names from files and environments, fit to be said: no controls, no invalid text, no more than Kubernetes allows."""

from collections.abc import Mapping

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names: a DNS subdomain and a DNS label.
LONGEST_SUBDOMAIN = 253
LONGEST_LABEL = 63
# A registry and repository of 255 characters, a tag of 128 and a digest (distribution/reference).
LONGEST_IMAGE = 512
LONGEST_PATH = 4096
_TRACE_PARENT = "tracing.k8s.io/traceparent"
_LONGEST_TRACE_PARENT = 256


def clean(text: object, longest: int) -> str | None:
    """Return `text` cut to `longest` characters, with U+FFFD for what cannot be printed; None when empty or no text.

    A name that Kubernetes would refuse is kept: where it came from is what makes an identity, not how it looks.
    """
    if not isinstance(text, str) or not text:
        return None
    cut = text[:longest]
    return (
        cut
        if cut.isprintable()
        else "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut)
    )


def trace_parent(annotations: Mapping[str, object]) -> str | None:
    """Return the span in which a pod was created, as its annotations tell it. Not checked to be one."""
    return clean(annotations.get(_TRACE_PARENT), _LONGEST_TRACE_PARENT)
