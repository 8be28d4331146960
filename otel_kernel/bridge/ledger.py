"""What was posted, kept on disk: an intent stands there before each POST, so nothing is ever posted twice."""

import sqlite3
import time
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from otel_kernel.bridge.answers import Outcome
from otel_kernel.bridge.messages import Kind, Message

KEEP_S = 7 * 86_400  # as old as a collector's queue can be
KEEP_ROWS = 1_000_000
PRUNE_EVERY = 1_000  # messages
LOG_PAGES = 64  # of 4 KiB: what the write-ahead log may take beside the ledger, a small volume is enough
NAME = "posted.sqlite"
FORMAT = 1  # as _TABLES says

_TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, unix_ns INTEGER NOT NULL, outcome TEXT  -- NULL: an intent
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_time ON messages (unix_ns);
CREATE TABLE IF NOT EXISTS newest_throttle (subject TEXT PRIMARY KEY, unix_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (only INTEGER PRIMARY KEY CHECK (only = 1), unix_ns INTEGER NOT NULL);
INSERT OR IGNORE INTO forgotten VALUES (1, -1);
PRAGMA user_version = 1;
"""


class LedgerError(Exception):
    """The state directory cannot be used: one line."""


class Standing(StrEnum):
    """Why a message must not be posted."""

    DUPLICATE = "duplicate"
    EXPIRED = "expired"  # older than what was forgotten: nobody can tell whether it was posted
    STALE = "stale"  # a newer one of its pod was posted, which it would overwrite


class Ledger:
    """A context: the one ledger of a state directory. Every method raises LedgerError when the disk does not allow."""

    def __init__(self, directory: Path, keep_rows: int = KEEP_ROWS) -> None:
        self._directory = directory
        self._keep_rows = keep_rows
        self._since_pruned = 0

    def __enter__(self) -> Self:
        """Open it. Raises LedgerError when another bridge has it, or it is no ledger."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._directory / NAME, timeout=0, isolation_level=None)
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            (found,) = self._database.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                raise LedgerError(f"{self._directory / NAME} is of format {found}, this version knows {FORMAT}")
            self._database.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            told = "another bridge uses it" if "locked" in str(error) else str(error)
            raise LedgerError(f"{self._directory}: {told}") from None
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"{self._directory}: {error}") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def standing(self, message: Message) -> Standing | None:
        """Return why this message must not be posted; None when it may be."""
        if self._one("SELECT 1 FROM messages WHERE id = ?", message.id):
            return Standing.DUPLICATE
        if self._one("SELECT 1 FROM forgotten WHERE unix_ns >= ?", message.unix_ns):
            return Standing.EXPIRED
        if message.kind is Kind.CPU_THROTTLE and self._one(
            "SELECT 1 FROM newest_throttle WHERE subject = ? AND unix_ns > ?", message.subject, message.unix_ns
        ):
            return Standing.STALE
        return None

    def intend(self, message: Message) -> None:
        """Write down that this message is about to be posted; it is on disk when this returns."""
        self._since_pruned += 1
        if self._since_pruned >= PRUNE_EVERY:
            self.prune()
        self._do("INSERT INTO messages VALUES (?, ?, ?, NULL)", message.id, message.kind, message.unix_ns)

    def settle(self, message: Message, outcome: Outcome) -> None:
        """Write down what became of it."""
        self._do("UPDATE messages SET outcome = ? WHERE id = ?", outcome, message.id)
        if message.kind is Kind.CPU_THROTTLE and outcome is Outcome.POSTED:
            self._do("INSERT OR REPLACE INTO newest_throttle VALUES (?, ?)", message.subject, message.unix_ns)

    def withdraw(self, message: Message) -> None:
        """Take the intent back: it was certainly not posted and may be tried again."""
        self._do("DELETE FROM messages WHERE id = ?", message.id)

    def settle_intents(self) -> dict[Kind, int]:
        """Settle what an earlier process left between intent and answer as ambiguous. Returns how many of each kind."""
        left = self._all("SELECT kind, count(*) FROM messages WHERE outcome IS NULL GROUP BY kind")
        self._do("UPDATE messages SET outcome = ? WHERE outcome IS NULL", Outcome.AMBIGUOUS)
        return {Kind(kind): count for kind, count in left}

    def count(self) -> int:
        """Return how many ids are kept."""
        return int(self._all("SELECT count(*) FROM messages")[0][0])

    def prune(self, now_unix_ns: int | None = None) -> None:
        """Forget what is older than a collector's queue can be, and the oldest beyond the bound.

        What is as old as the newest that was forgotten counts as expired from then on. (Not what is as old as the
        clock says: a clock that jumped ahead would make everything expired.)
        """
        self._since_pruned = 0
        cutoff_ns = (time.time_ns() if now_unix_ns is None else now_unix_ns) - KEEP_S * 1_000_000_000
        oldest = self._all("SELECT unix_ns FROM messages ORDER BY unix_ns DESC LIMIT 1 OFFSET ?", self._keep_rows)
        bound_ns = max(cutoff_ns - 1, oldest[0][0] if oldest else -1)
        newest = self._all("SELECT max(unix_ns) FROM messages WHERE unix_ns <= ?", bound_ns)[0][0]
        if newest is None:
            return
        self._do("BEGIN")
        try:
            self._do("UPDATE forgotten SET unix_ns = max(unix_ns, ?)", newest)
            self._do("DELETE FROM messages WHERE unix_ns <= ? AND outcome IS NOT NULL", newest)
            self._do("DELETE FROM newest_throttle WHERE unix_ns <= ?", newest)
            self._do("COMMIT")
        except LedgerError:
            self._database.rollback()
            raise

    def _one(self, question: str, *values: object) -> bool:
        return bool(self._all(f"{question} LIMIT 1", *values))

    def _do(self, statement: str, *values: object) -> None:
        self._all(statement, *values)

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"{self._directory}: {error}") from None
