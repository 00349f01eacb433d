"""Calls and tickets in SQLite: nothing that was written is lost when the process dies."""

from __future__ import annotations

import csv
import io
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sipproto_phone.files import StorageError, data_directory, private_directory
from sipproto_phone.model import Outcome
from sipproto_phone.ports import JournalEntry, Ticket

FILE = "journal.sqlite3"
MAX_TEXT = 20_000  # characters of a field
MAX_ROWS = 500  # of one answer
MAX_IMPORT = 100_000  # lines
_BUSY = 2.0  # seconds to wait for another process
_COLUMNS = ("started", "incoming", "number", "name", "duration", "outcome", "account")
_FORMULA = re.compile(r"^\s*([=@\t\r]|[+-](?![\d ()-]+$))")

# Each brings the schema from its own number to the next (PRAGMA user_version). Never change one that was released.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE calls (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        started REAL NOT NULL,
        answered REAL,
        ended REAL,
        incoming INTEGER NOT NULL,
        number TEXT NOT NULL,
        name TEXT NOT NULL,
        account TEXT NOT NULL,
        outcome TEXT NOT NULL
    );
    CREATE INDEX calls_started ON calls (started);
    CREATE TABLE tickets (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created REAL NOT NULL,
        changed REAL NOT NULL,
        customer TEXT NOT NULL,
        contact TEXT NOT NULL,
        number TEXT NOT NULL,
        text TEXT NOT NULL,
        status TEXT NOT NULL,
        call INTEGER REFERENCES calls (id) ON DELETE SET NULL
    );
    """,
)


class JournalFile:
    """A Journal. Raises StorageError, one line for the user, when the disk or the file does not let it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or data_directory() / FILE
        private_directory(self.path.parent)
        with _told(self.path):
            if not self.path.exists():
                os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            # A lower-case that knows more than ASCII, for searches.
            self._db.create_function("folded", 1, lambda text: str(text).casefold(), deterministic=True)
            self._write_ahead()
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate()

    def _write_ahead(self) -> None:
        """Here SQLite does not wait by itself for another phone that is being started, too."""
        deadline = time.monotonic() + _BUSY
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)  # the phone is being started: nobody else waits for this thread

    def _migrate(self) -> None:
        # Two phones may be started at once: whoever comes second finds the work done.
        with _transaction(self._db):
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            for migration in MIGRATIONS[version:]:
                for statement in migration.split(";"):
                    self._db.execute(statement)
            if version < len(MIGRATIONS):
                self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        if version > len(MIGRATIONS):
            self._db.close()
            raise StorageError(f"{self.path} was written by a newer version of the phone")

    def close(self) -> None:
        with _told(self.path):
            self._db.close()

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        with _told(self.path):
            return self._db.execute(statement, values)

    # -- calls ---------------------------------------------------------------------------------------------------------

    def call_began(self, *, started: float, incoming: bool, number: str, name: str, account: str) -> int:
        # Until it has ended it counts as what it is if the process dies now.
        outcome = Outcome.MISSED if incoming else Outcome.CANCELED
        cursor = self._run(
            "INSERT INTO calls (started, incoming, number, name, account, outcome) VALUES (?, ?, ?, ?, ?, ?)",
            (started, incoming, _cut(number), _cut(name), _cut(account), outcome.value),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def call_answered(self, entry: int, at: float) -> None:
        self._run("UPDATE calls SET answered = ?, outcome = ? WHERE id = ?", (at, Outcome.ANSWERED.value, entry))

    def call_ended(self, entry: int, *, at: float, outcome: Outcome) -> None:
        self._run("UPDATE calls SET ended = ?, outcome = ? WHERE id = ?", (at, outcome.value, entry))

    def calls(
        self, *, search: str = "", missed: bool = False, before: int | None = None, limit: int = 50
    ) -> tuple[JournalEntry, ...]:
        """The newest first; `before`: only those that are older than this one."""
        conditions, values = _matching(search, ("name", "number"))
        if missed:
            conditions.append("outcome = ?")
            values.append(Outcome.MISSED.value)
        if before is not None:
            conditions.append("(started, id) < (SELECT started, id FROM calls WHERE id = ?)")
            values.append(before)
        rows = self._select("calls", conditions, values, "started DESC, id DESC", limit)
        return tuple(_entry(row) for row in rows)

    def clear_calls(self) -> None:
        self._run("DELETE FROM calls")

    def export_csv(self) -> str:
        """All calls, the oldest first; times in UTC (ISO 8601), durations in seconds."""
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        for row in self._run("SELECT * FROM calls ORDER BY started, id"):
            entry = _entry(row)
            started = datetime.fromtimestamp(entry.started, UTC).isoformat(timespec="seconds")
            writer.writerow(
                [
                    started,
                    "yes" if entry.incoming else "no",
                    _harmless(entry.number),
                    _harmless(entry.name),
                    round(entry.duration),
                    entry.outcome.value,
                    _harmless(entry.account),
                ]
            )
        return out.getvalue()

    def import_csv(self, text: str) -> int:
        """Takes calls from what `export_csv` gives, all of them or none; returns how many. Raises StorageError."""
        rows = list(csv.reader(io.StringIO(text)))
        if not rows or tuple(rows[0]) != _COLUMNS:
            raise StorageError(f"the first line has to be {','.join(_COLUMNS)}")
        if len(rows) > MAX_IMPORT:
            raise StorageError(f"that is more than {MAX_IMPORT} lines")
        taken = [_taken(number, row) for number, row in enumerate(rows[1:], 2) if row]
        with _told(self.path), _transaction(self._db):
            self._db.executemany(
                "INSERT INTO calls (started, answered, ended, incoming, number, name, account, outcome)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                taken,
            )
        return len(taken)

    # -- tickets -------------------------------------------------------------------------------------------------------

    def tickets(
        self, *, search: str = "", status: str = "", before: int | None = None, limit: int = 50
    ) -> tuple[Ticket, ...]:
        conditions, values = _matching(search, ("customer", "contact", "number", "text"))
        if status:
            conditions.append("status = ?")
            values.append(status)
        if before is not None:
            conditions.append("id < ?")
            values.append(before)
        return tuple(_ticket(row) for row in self._select("tickets", conditions, values, "id DESC", limit))

    def save_ticket(self, values: dict[str, Any], now: float) -> Ticket:
        """Makes a ticket, or changes that of values["id"]. Raises StorageError when there is none."""
        texts = [_cut(str(values.get(name) or "")) for name in ("customer", "contact", "number", "text")]
        status = str(values.get("status") or "open")
        if status not in ("open", "closed"):
            raise StorageError("a ticket is open or closed")
        ident, call = values.get("id"), values.get("call")
        if call is not None and self._run("SELECT 1 FROM calls WHERE id = ?", (call,)).fetchone() is None:
            call = None  # it was cleared from the journal
        if ident is None:
            ident = self._run(
                "INSERT INTO tickets (created, changed, customer, contact, number, text, status, call)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (now, now, *texts, status, call),
            ).lastrowid
        else:
            changed = self._run(
                "UPDATE tickets SET changed = ?, customer = ?, contact = ?, number = ?, text = ?, status = ?,"
                " call = coalesce(?, call) WHERE id = ?",
                (now, *texts, status, call, ident),
            )
            if not changed.rowcount:
                raise StorageError(f"there is no ticket {ident}")
        return _ticket(self._run("SELECT * FROM tickets WHERE id = ?", (ident,)).fetchone())

    def remove_ticket(self, ident: int) -> None:
        self._run("DELETE FROM tickets WHERE id = ?", (ident,))

    def _select(self, table: str, conditions: list[str], values: list[Any], order: str, limit: int) -> list[Any]:
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"SELECT * FROM {table} {where} ORDER BY {order} LIMIT ?"  # noqa: S608  no part of it comes from users
        return self._run(statement, (*values, max(1, min(limit, MAX_ROWS)))).fetchall()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"the journal {path} cannot be used: {error}") from None


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _matching(search: str, columns: tuple[str, ...]) -> tuple[list[str], list[Any]]:
    """Each word has to be in one of the columns; digits also in a number that is written with other signs."""
    conditions: list[str] = []
    values: list[Any] = []
    for word in search.casefold().split()[:8]:
        pattern = "%" + re.sub(r"([%_\\])", r"\\\1", word[:100]) + "%"
        conditions.append("(" + " OR ".join(f"folded({column}) LIKE ? ESCAPE '\\'" for column in columns) + ")")
        values += [pattern] * len(columns)
    return conditions, values


def _entry(row: Any) -> JournalEntry:
    ident, started, answered, ended, incoming, number, name, account, outcome = row
    duration = max(0.0, ended - answered) if answered is not None and ended is not None else 0.0
    return JournalEntry(
        id=ident,
        started=started,
        incoming=bool(incoming),
        number=number,
        name=name,
        duration=duration,
        outcome=Outcome(outcome),
        account=account,
        open=ended is None,
    )


def _ticket(row: Any) -> Ticket:
    ident, created, changed, customer, contact, number, text, status, call = row
    return Ticket(
        id=ident,
        created=created,
        changed=changed,
        customer=customer,
        contact=contact,
        number=number,
        text=text,
        status=status,
        call=call,
    )


def _cut(text: str) -> str:
    return text[:MAX_TEXT]


def _harmless(text: str) -> str:
    """A spreadsheet takes a cell that begins like this for a formula, and callers choose their names."""
    return "'" + text if _FORMULA.match(text) else text


def _taken(line: int, row: list[str]) -> tuple[Any, ...]:
    try:
        started, incoming, number, name, duration, outcome, account = row
        begin = datetime.fromisoformat(started).timestamp()
        length = float(duration)
        if not 0 <= length < 10**7 or incoming not in ("yes", "no"):
            raise ValueError
        how = Outcome(outcome)
    except (ValueError, OverflowError, OSError):
        raise StorageError(f"line {line} is no call") from None
    answered = begin if how is Outcome.ANSWERED else None
    texts = [_cut(text.removeprefix("'")) for text in (number, name, account)]
    return (begin, answered, begin + length, incoming == "yes", *texts, how.value)
