"""What a phone keeps, in memory."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sipproto_phone.model import Outcome
from sipproto_phone.ports import JournalEntry, Settings, Ticket


class MemorySettings:
    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.saved = 0

    def load(self) -> Settings:
        return self.settings

    def save(self, settings: Settings) -> None:
        self.settings = settings
        self.saved += 1


class MemoryPasswords:
    is_keyring = True
    detail = ""

    def __init__(self, **passwords: str) -> None:
        self.passwords = dict(passwords)

    def get(self, account: str) -> str | None:
        return self.passwords.get(account)

    def set(self, account: str, password: str) -> None:
        self.passwords[account] = password

    def remove(self, account: str) -> None:
        self.passwords.pop(account, None)


class MemoryJournal:
    def __init__(self) -> None:
        self.entries: dict[int, JournalEntry] = {}
        self.answered: dict[int, float] = {}
        self.kept: dict[int, Ticket] = {}

    def call_began(self, *, started: float, incoming: bool, number: str, name: str, account: str) -> int:
        ident = len(self.entries) + 1
        self.entries[ident] = JournalEntry(
            id=ident,
            started=started,
            incoming=incoming,
            number=number,
            name=name,
            duration=0.0,
            outcome=Outcome.FAILED,
            account=account,
            open=True,
        )
        return ident

    def call_answered(self, entry: int, at: float) -> None:
        self.answered[entry] = at

    def call_ended(self, entry: int, *, at: float, outcome: Outcome) -> None:
        assert self.entries[entry].open, "ended twice"
        duration = at - self.answered[entry] if entry in self.answered else 0.0
        self.entries[entry] = evolve(self.entries[entry], duration=duration, outcome=outcome, open=False)

    def calls(self, *, search: str, missed: bool, before: int | None, limit: int) -> tuple[JournalEntry, ...]:
        found = [one for one in self.entries.values() if search in one.number + one.name]
        return tuple(reversed(found))[:limit]

    def export_csv(self) -> str:
        return "\n".join(one.number for one in self.entries.values())

    def import_csv(self, text: str) -> int:
        return len(text.splitlines())

    def clear_calls(self) -> None:
        self.entries.clear()

    def tickets(self, *, search: str, status: str, before: int | None, limit: int) -> tuple[Ticket, ...]:
        return tuple(one for one in self.kept.values() if search in one.text)[:limit]

    def save_ticket(self, values: dict[str, Any], now: float) -> Ticket:
        ident = values.pop("id") or len(self.kept) + 1
        self.kept[ident] = Ticket(id=ident, created=now, changed=now, **values)
        return self.kept[ident]

    def remove_ticket(self, ident: int) -> None:
        self.kept.pop(ident, None)

    def close(self) -> None: ...
