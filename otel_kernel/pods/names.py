"""Names from files and environments, fit to be said: no controls, no invalid text, no more than Kubernetes allows."""

# https://kubernetes.io/docs/concepts/overview/working-with-objects/names: a DNS subdomain and a DNS label.
LONGEST_SUBDOMAIN = 253
LONGEST_LABEL = 63
# A registry and repository of 255 characters, a tag of 128 and a digest (distribution/reference).
LONGEST_IMAGE = 512
LONGEST_PATH = 4096


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
