"""Settings, passwords and journal of the phone: what is kept, who can read it, and what happens when the disk does not let us."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sipproto_phone.commands import COMMANDS, CommandProblem, Dial, SaveAccount, SetVolume, command_of
from sipproto_phone.files import StorageError
from sipproto_phone.journal import MIGRATIONS, JournalFile
from sipproto_phone.model import Outcome, PhoneState, as_json
from sipproto_phone.passwords import Passwords
from sipproto_phone.phone import Phone
from sipproto_phone.ports import Account, Settings
from sipproto_phone.settings import SettingsFile, settings_of

ALICE = Account(id="a", display_name="Алиса", server="pbx.example", login="100", hosts=("pbx.example=192.0.2.1",))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_settings_are_kept_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "phone.json"
    store = SettingsFile(path)
    assert store.load() == Settings()
    settings = Settings(language="ru", volume=0.5, active_account="a", accounts=(ALICE,))
    store.save(settings)
    assert SettingsFile(path).load() == settings
    assert mode(path) == 0o600 and mode(path.parent) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["phone.json"]


def test_settings_that_cannot_be_read_are_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "phone.json"
    path.write_text('{"volume": 0.5, "accounts": [{"id"')
    store = SettingsFile(path)
    assert store.load() == Settings()
    assert "phone.json.broken" in store.problem
    assert (tmp_path / "phone.json.broken").exists() and not path.exists()
    assert store.load() == Settings() and store.problem == ""


def test_fields_of_another_type_are_left_out() -> None:
    read = {
        "volume": "loud",
        "region": "DE",
        "call_waiting": 1,
        "unknown": True,
        "accounts": [{"id": "a", "port": "x", "login": "100", "hosts": ["h=1.2.3.4", 5]}, {"id": ""}, 7],
    }
    assert settings_of(read) == Settings(region="DE", accounts=(Account(id="a", login="100", hosts=("h=1.2.3.4",)),))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["accounts", "id", "volume", "hosts"]), inner),
)


@given(_JSON)
def test_no_file_can_make_the_settings_fail(read: Any) -> None:
    assert isinstance(settings_of(read), Settings)


def test_a_full_disk_leaves_the_settings_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SettingsFile(tmp_path / "phone.json")
    store.save(Settings(region="RU"))

    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(StorageError, match="No space left"):
        store.save(Settings(region="DE"))
    monkeypatch.undo()
    assert store.load().region == "RU"
    assert len(list(tmp_path.iterdir())) == 1


# -- passwords ---------------------------------------------------------------------------------------------------------


class Keyring:
    """One that keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.fails = False

    def _check(self) -> None:
        if self.fails:
            raise RuntimeError("locked: the secret is 'hunter2'")

    def get_password(self, service: str, name: str) -> str | None:
        self._check()
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self._check()
        self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        self._check()
        del self.kept[service, name]


def test_passwords_in_the_keyring(tmp_path: Path) -> None:
    keyring = Keyring()
    passwords = Passwords(keyring, tmp_path / "passwords.json")
    assert passwords.get("a") is None
    passwords.set("a", "hunter2")
    assert passwords.get("a") == "hunter2"
    assert passwords.is_keyring and passwords.detail == ""
    assert list(tmp_path.iterdir()) == []
    passwords.remove("a")
    passwords.remove("a")
    assert passwords.get("a") is None and keyring.kept == {}


def test_passwords_without_a_keyring(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    for passwords in (Passwords(None, path), Passwords(_failing(), path)):
        passwords.set("a", "hunter2")
        assert not passwords.is_keyring
        assert str(path) in passwords.detail and "hunter2" not in passwords.detail
        assert mode(path) == 0o600
        assert Passwords(None, path).get("a") == "hunter2"
        passwords.remove("a")
        assert passwords.get("a") is None
        assert "hunter2" not in path.read_text()


def _failing() -> Keyring:
    keyring = Keyring()
    keyring.fails = True
    return keyring


def test_a_keyring_that_fails_later(tmp_path: Path) -> None:
    keyring = Keyring()
    passwords = Passwords(keyring, tmp_path / "passwords.json")
    keyring.fails = True
    passwords.set("a", "hunter2")
    assert not passwords.is_keyring
    assert passwords.get("a") == "hunter2"
    # and what was in the file goes into the keyring the next time it is set
    later = Passwords(Keyring(), tmp_path / "passwords.json")
    assert later.get("a") == "hunter2"
    later.set("a", "hunter3")
    assert "hunter" not in (tmp_path / "passwords.json").read_text()


# -- the journal -------------------------------------------------------------------------------------------------------


def talk(journal: JournalFile, started: float, number: str, name: str = "", *, incoming: bool = False) -> int:
    entry = journal.call_began(started=started, incoming=incoming, number=number, name=name, account="a")
    journal.call_answered(entry, started + 5)
    journal.call_ended(entry, at=started + 65, outcome=Outcome.ANSWERED)
    return entry


def test_calls(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.sqlite3")
    assert mode(journal.path) == 0o600
    first = talk(journal, 1000, "+7 (495) 123-45-67", "Иван Петров")
    missed = journal.call_began(started=2000, incoming=True, number="200", name="100% Bob_", account="a")
    calls = journal.calls()
    assert [call.id for call in calls] == [missed, first]
    assert (calls[0].outcome, calls[0].open, calls[0].duration) == (Outcome.MISSED, True, 0)
    assert (calls[1].outcome, calls[1].open, calls[1].duration) == (Outcome.ANSWERED, False, 60)
    assert [call.id for call in journal.calls(search="иван")] == [first]
    assert [call.id for call in journal.calls(search="495 петров")] == [first]
    assert [call.id for call in journal.calls(search="100% b")] == [missed]
    assert journal.calls(search="10_%") == ()
    assert [call.id for call in journal.calls(missed=True)] == [missed]
    assert [call.id for call in journal.calls(before=missed)] == [first]
    assert len(journal.calls(limit=0)) == 1
    journal.close()
    journal = JournalFile(tmp_path / "journal.sqlite3")
    assert len(journal.calls()) == 2
    journal.clear_calls()
    assert journal.calls() == ()
    journal.close()


def test_pages_of_a_long_journal(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.sqlite3")
    for number in range(25):
        talk(journal, 1000 + number // 2, str(number))
    seen: list[int] = []
    before = None
    while page := journal.calls(before=before, limit=10):
        seen += [call.id for call in page]
        before = page[-1].id
    assert seen == list(range(25, 0, -1))
    journal.close()


def test_out_and_in_again(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.sqlite3")
    talk(journal, 1000, "+7 495", '<script>"x"</script>, "y"\nz')
    talk(journal, 2000, "200", '=HYPERLINK("http://x")', incoming=True)
    text = journal.export_csv()
    assert "'=HYPERLINK" in text and ",+7 495," in text
    other = JournalFile(tmp_path / "other.sqlite3")
    assert other.import_csv(text) == 2
    assert [evolve(call, id=0) for call in other.calls()] == [
        evolve(call, id=0, duration=call.duration) for call in journal.calls()
    ]
    for bad in ("", "a,b\n", text + "now,maybe,1,x,5,answered,a\n", text + "1970-01-01,yes,1,x,-5,answered,a\n"):
        with pytest.raises(StorageError):
            other.import_csv(bad)
    assert len(other.calls()) == 2
    journal.close()
    other.close()


def test_tickets(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.sqlite3")
    entry = talk(journal, 1000, "200")
    ticket = journal.save_ticket({"customer": "ООО Рога", "number": "200", "text": "не звонит", "call": entry}, 1.0)
    assert (ticket.status, ticket.call, ticket.created) == ("open", entry, 1.0)
    changed = journal.save_ticket({"id": ticket.id, "customer": "Рога", "text": "звонит", "status": "closed"}, 2.0)
    assert (changed.status, changed.created, changed.changed, changed.call) == ("closed", 1.0, 2.0, entry)
    assert "звонит" not in repr(changed)
    other = journal.save_ticket({"text": "x", "call": 999}, 3.0)
    assert other.call is None
    assert [one.id for one in journal.tickets()] == [other.id, ticket.id]
    assert [one.id for one in journal.tickets(status="closed", search="РОГА")] == [ticket.id]
    assert [one.id for one in journal.tickets(before=other.id)] == [ticket.id]
    for bad in ({"id": 999}, {"status": "lost"}):
        with pytest.raises(StorageError):
            journal.save_ticket(bad, 1.0)
    journal.clear_calls()
    assert journal.tickets()[-1].call is None
    journal.remove_ticket(ticket.id)
    assert len(journal.tickets()) == 1
    journal.close()


def test_nothing_is_lost_when_the_process_dies(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    program = (
        "import os, signal, pathlib; from sipproto_phone.journal import JournalFile;"
        f"journal = JournalFile(pathlib.Path({str(path)!r}));"
        "entry = journal.call_began(started=1.0, incoming=True, number='200', name='', account='a');"
        "journal.call_answered(entry, 2.0); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, env=_environment())
    assert ended.returncode == -9
    journal = JournalFile(path)
    (call,) = journal.calls()
    assert (call.number, call.outcome, call.open) == ("200", Outcome.ANSWERED, True)
    journal.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal.sqlite3")
    talk(journal, 1000, "200")
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="full"):
        _fill(journal)
    journal._db.execute("PRAGMA max_page_count = 100000")
    assert journal.calls(search="200")
    journal.close()


def _fill(journal: JournalFile) -> None:
    for _ in range(1000):
        journal.call_began(started=1.0, incoming=True, number="2" * 1000, name="", account="")


def test_a_journal_is_begun_by_several_phones_at_once(tmp_path: Path) -> None:
    """By a user who clicks twice at the first start."""
    for round_ in range(5):
        path, ready = tmp_path / f"{round_}.sqlite3", threading.Barrier(6)

        def begin(path: Path = path, ready: threading.Barrier = ready) -> None:
            ready.wait()
            journal = JournalFile(path)
            journal.call_began(started=1.0, incoming=True, number="1", name="", account="")
            journal.close()

        with ThreadPoolExecutor(6) as pool:
            for started in [pool.submit(begin) for _ in range(6)]:
                started.result(20)
        journal = JournalFile(path)
        assert len(journal.calls()) == 6
        journal.close()


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite3"
    path.write_text("no database at all, but long enough to look at" * 50)
    with pytest.raises(StorageError):
        JournalFile(path)
    newer = tmp_path / "newer.sqlite3"
    db = sqlite3.connect(newer)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    with pytest.raises(StorageError, match="newer version"):
        JournalFile(newer)
    with pytest.raises(StorageError):
        JournalFile(Path("/proc/nowhere/journal.sqlite3"))


# -- commands ----------------------------------------------------------------------------------------------------------


def test_commands_have_names_and_fields() -> None:
    assert len(set(COMMANDS.values())) == len(COMMANDS)
    assert command_of("dial", {"number": "200"}) == Dial(number="200")
    assert command_of("set_volume", {"volume": 1}).volume == 1
    secret = command_of("save_account", {"account": {"login": "x"}, "password": "hunter2"})
    assert "hunter2" not in repr(secret)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("fly", {}),
        ("dial", {}),
        ("dial", {"number": 5}),
        ("dial", {"number": "5", "loud": True}),
        ("set_volume", {"volume": True}),
        ("set_volume", {"volume": "1"}),
        ("mute", {"call": "1", "muted": 1}),
        ("list_calls", {"before": 1.5}),
        ("save_account", {"account": []}),
    ],
)
def test_commands_that_are_none(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(CommandProblem):
        command_of(name, values)


def test_the_state_is_plain() -> None:
    assert as_json(PhoneState())["connection"]["online"] == "offline"


class ReadOnly(Passwords):
    """A password store on a disk that is full."""

    def set(self, account: str, password: str) -> None:
        raise StorageError("cannot write: No space left on device")


def test_a_phone_says_what_could_not_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        store = SettingsFile(tmp_path / "phone.json")
        journal = JournalFile(tmp_path / "journal.sqlite3")
        passwords = ReadOnly(None, tmp_path / "passwords.json")
        with anyio.fail_after(20), closing(journal):
            async with Phone(store, passwords, journal, devices=False) as phone:
                account = {"server": "pbx.example", "login": "100"}
                with pytest.raises(CommandProblem, match=r"password cannot be kept.*No space") as kept:
                    await phone.do(SaveAccount(account=account, password="hunter2"))
                assert kept.value.code == "storage" and "hunter2" not in str(kept.value)
                monkeypatch.setattr(os, "fsync", _full)
                with pytest.raises(CommandProblem, match=r"settings cannot be saved.*No space") as saved:
                    await phone.do(SetVolume(volume=0.5))
                assert saved.value.code == "storage"
                assert phone.state.volume == 1.0 and phone.settings == Settings()
                monkeypatch.undo()
                await phone.do(SetVolume(volume=0.5))
        assert store.load().volume == 0.5

    anyio.run(scenario)


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")
