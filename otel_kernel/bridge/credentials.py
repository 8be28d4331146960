"""Tokens and certificates as files say them. Files are replaced while we run (Kubernetes does so with its secrets)."""

import ssl
from pathlib import Path

from otel_kernel.declaration import SettingsError
from otel_kernel.settings import Bridge

LONGEST_TOKEN = 16_384


class TokenError(Exception):
    """A token file that holds no token: one line."""


def token(path: Path) -> str:
    """Return the token in a file, read anew each time: it is small and may have been replaced. Raises TokenError."""
    try:
        with path.open(encoding="ascii") as file:
            said = file.read(LONGEST_TOKEN + 1).strip()
    except (OSError, UnicodeDecodeError):
        raise TokenError(f"{path} cannot be read as a token") from None
    if not said or len(said) > LONGEST_TOKEN or not said.isprintable() or " " in said:
        raise TokenError(f"{path} holds no token: one line of printable characters without blanks")
    return said


class Identity:
    """A certificate and its key in a TLS context, read again by whoever connects after the files have changed."""

    def __init__(self, context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
        """Read them. Raises OSError, ssl.SSLError among it."""
        self.context = context
        self._files = (certificate, key)
        self._stamps: tuple[int, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Read the files again when they have changed. Raises OSError; what was read before then still holds."""
        stamps = tuple(path.stat().st_mtime_ns for path in self._files if path)
        if stamps != self._stamps:
            self.context.load_cert_chain(*self._files)
            self._stamps = stamps


def for_listening(settings: Bridge) -> Identity | None:
    """Return who we are to senders; None for plain HTTP. Raises SettingsError."""
    if settings.listen_cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    return _identity(context, settings.listen_cert_file, settings.listen_key_file, "LISTEN_CERT")


def for_operator(settings: Bridge) -> tuple[ssl.SSLContext, Identity | None]:
    """Return whom we trust as the operator, and who we are to it. Raises SettingsError."""
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise SettingsError(f"OTEL_KERNEL_BRIDGE_CA_FILE={settings.ca_file} is not allowed: {error}") from None
    if settings.cert_file is None:
        return context, None
    return context, _identity(context, settings.cert_file, settings.key_file, "CERT")


def _identity(context: ssl.SSLContext, certificate: Path, key: Path | None, name: str) -> Identity:
    try:
        return Identity(context, certificate, key)
    except OSError as error:
        raise SettingsError(f"OTEL_KERNEL_BRIDGE_{name}_FILE={certificate} is not allowed: {error}") from None
