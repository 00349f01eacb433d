"""The engine of the softphone: an account online, its calls and their sound, behind one table of commands and one state."""

from __future__ import annotations

import importlib.metadata
import locale
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
from attrs import evolve

from sipproto._entropy import SystemTokens
from sipproto.errors import SipProtoError
from sipproto.tokens import token
from sipproto_aiortc import AiortcEngine
from sipproto_anyio import AnyioRuntime
from sipproto_client import Endpoint, EndpointClosed, Pin, plain_task_group
from sipproto_phone import commands as c
from sipproto_phone._account import LONGEST_RING, MakeEngine, check_account
from sipproto_phone._calls import Calls
from sipproto_phone._online import Link
from sipproto_phone._sound import Sound, with_devices
from sipproto_phone._values import changed
from sipproto_phone.commands import CommandProblem
from sipproto_phone.files import StorageError
from sipproto_phone.model import AccountView, Connection, Mailbox, Online, PhoneState, Problem, as_json
from sipproto_phone.ports import Account, Journal, PasswordStore, Settings, SettingsStore, Ticket

_LANGUAGES = ("ru", "en")
_MOST_ACCOUNTS = 50
_MOST_ENTRIES = 500  # of the journal or of the tickets in one answer


def _usual_engine(servers: tuple[Any, ...]) -> AiortcEngine:
    return AiortcEngine(ice_servers=servers)


class Phone:
    """A telephone: use it as an async context manager, or `run` it until somebody says Quit.

    settings, passwords, journal: what it keeps; all three are the caller's to close. clock: seconds since 1970.
    make_engine: the media engine for an account with these ICE servers. devices: False for no sound hardware at all: the
    microphone is silence, or a sine of `tone` Hz, and what would be heard is measured (`sound.meter`). library: in place
    of the module sounddevice. demo: brings a server and an account of its own. ended_shown: seconds for which a call that is
    over stays in the state. on_ticket: told each ticket that was saved, with the webhook of the settings;
    a CommandProblem of it becomes a notice.

    `do` carries out commands, `state` is what is to be shown, `changes` tells of it. To be used on one event loop.
    """

    def __init__(
        self,
        settings: SettingsStore,
        passwords: PasswordStore,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        make_engine: MakeEngine = _usual_engine,
        devices: bool = True,
        tone: float | None = None,
        library: Any = None,
        demo: bool = False,
        ended_shown: float = 5.0,
        on_ticket: Callable[[Ticket, str], Coroutine[Any, Any, object]] | None = None,
    ) -> None:
        self._store = settings
        self._passwords = passwords
        self.journal = journal
        self._clock = clock
        self._make_engine: MakeEngine = make_engine if not demo else lambda _: AiortcEngine(include_loopback=True)
        self._is_demo = demo
        self._demo: tuple[Account, str] | None = None
        self._on_ticket = on_ticket
        self.settings: Settings = settings.load()
        self.sound = Sound(
            self.settings,
            devices=devices,
            tone=tone,
            library=library,
            changed=lambda: self._from_thread(self._devices_changed),
            trouble=lambda text: self._from_thread(lambda: self.notice(text)),
        )
        self._calls = Calls(self, ended_shown=ended_shown)
        self._link: Link | None = None
        self._wanted: str | None = self.settings.active_account or None  # the account to be online with
        self._turn = anyio.Event()  # another account, or the same one anew
        self._with_password: frozenset[str] = frozenset()
        self._state = PhoneState()
        self._bell = anyio.Event()
        self._quit = anyio.Event()
        self._open = False
        self._stack = AsyncExitStack()
        self._from_thread: Callable[[Callable[[], None]], None] = lambda function: None
        self._carry_out: dict[type, Callable[[Any], Awaitable[Any]]] = self._table()

    # -- its life ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        call = AnyioRuntime().thread_caller()

        def from_thread(function: Callable[[], None]) -> None:
            try:
                call(lambda: function() if self._open else None)
            except RuntimeError:
                pass  # the loop is gone

        self._from_thread = from_thread
        try:
            if self._is_demo:
                from sipproto_phone._demo import run_demo_server

                self._demo = await self._stack.enter_async_context(run_demo_server())
                self._wanted = self._demo[0].id
            await self._know_passwords()
            self._calls.last_number = self._last_number()
            self._tasks = await self._stack.enter_async_context(plain_task_group(AnyioRuntime()))
        except BaseException:
            await self._stack.aclose()
            raise
        self._open = True
        self._show(
            keyring=self._passwords.is_keyring,
            keyring_detail=self._passwords.detail,
            demo=self._is_demo,
            version=importlib.metadata.version("sipproto"),
        )
        self._tasks.start_soon(self._stay_with_accounts)
        self._tasks.start_soon(self.sound.refresh)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel()  # ends calls and registration in order
        try:
            await self._stack.__aexit__(kind, error, trace)
        finally:
            self.sound.want("")
            self._open = False
            self._bell.set()

    async def run(self) -> None:
        """Until Quit, or until cancelled."""
        async with self:
            await self._quit.wait()

    async def wait_quit(self) -> None:
        """Until somebody has said Quit."""
        await self._quit.wait()

    # -- the state ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> PhoneState:
        return self._state

    async def changes(self) -> AsyncIterator[PhoneState]:
        """The state now, and whenever it has changed; who is slow gets the newest one only. Ends with the phone."""
        seen = -1
        while self._open:
            state, bell = self._state, self._bell
            if state.revision == seen:
                await bell.wait()
                continue
            seen = state.revision
            yield state

    def changed(self) -> None:
        """Something that is shown may be another now."""
        self._show()

    def _show(self, **fields: Any) -> None:
        state = evolve(
            self._state,
            accounts=self._account_views(),
            calls=self._calls.views,
            devices=self.sound.view(),
            volume=self.settings.volume,
            language=self.settings.language or _system_language(),
            last_number=self._calls.last_number,
            **fields,
        )
        if state != self._state:
            self._state = evolve(state, revision=self._state.revision + 1)
            self._bell.set()
            self._bell = anyio.Event()

    def notice(self, text: str) -> None:
        self._show(notice=text)

    def _devices_changed(self) -> None:
        self.sound.recover()
        self._show()

    def _account_views(self) -> tuple[AccountView, ...]:
        return tuple(
            AccountView(
                id=account.id,
                display_name=account.display_name,
                server=account.server,
                login=account.login,
                transport=account.transport,
                has_password=account.id in self._with_password or self._is_of_demo(account.id),
                active=account.id == self._wanted,
            )
            for account in self._accounts()
        )

    # -- what calls need (Desk) --------------------------------------------------------------------------------------

    @property
    def account(self) -> Account:
        assert self._link is not None  # there are calls only with one
        return self._link.account

    @property
    def endpoint(self) -> Endpoint | None:
        """That of the account; also while it is not online."""
        return None if self._link is None else self._link.endpoint

    @property
    def is_online(self) -> bool:
        return self._state.connection.online is Online.ONLINE

    def now(self) -> float:
        return self._clock()

    def start(self, function: Callable[..., Coroutine[Any, Any, object]], *args: object) -> None:
        self._tasks.start_soon(function, *args)

    # -- accounts ----------------------------------------------------------------------------------------------------

    def _accounts(self) -> tuple[Account, ...]:
        return ((self._demo[0],) if self._demo else ()) + self.settings.accounts

    def _is_of_demo(self, ident: str) -> bool:
        return self._demo is not None and self._demo[0].id == ident

    def _account(self, ident: str) -> Account:
        found = next((account for account in self._accounts() if account.id == ident), None)
        if found is None:
            raise CommandProblem("there is no such account", "no_account")
        return found

    async def _know_passwords(self) -> None:
        """Which accounts have one; a keyring may take its time."""
        idents = [account.id for account in self.settings.accounts]
        self._with_password = frozenset([one for one in idents if await self._password(one)])

    async def _password(self, ident: str) -> str | None:
        if self._is_of_demo(ident):
            assert self._demo is not None
            return self._demo[1]
        try:
            return await anyio.to_thread.run_sync(self._passwords.get, ident)
        except Exception as error:  # of keyrings there are many, and each has errors of its own
            self.notice(f"the password store cannot be read: {error}")
            return None

    async def _stay_with_accounts(self) -> None:
        """One account after the other, each ended in order before the next."""
        while True:
            self._turn = anyio.Event()
            account = next((one for one in self._accounts() if one.id == self._wanted), None)
            if account is None:
                self._show(connection=Connection(), mailbox=Mailbox())
                await self._turn.wait()
                continue
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._be_online, account)
                await self._turn.wait()
                tasks.cancel_scope.cancel()

    async def _be_online(self, account: Account) -> None:
        self._show(connection=Connection(online=Online.CONNECTING), mailbox=Mailbox())
        password = await self._password(account.id)
        if not password:
            self._show(connection=Connection(online=Online.FAILED, problem=Problem.NO_PASSWORD))
            await anyio.sleep_forever()
            return
        link = self._link = Link(
            account,
            password,
            await self._password(f"{account.id}/turn") if account.turn_user else None,
            make_engine=self._make_engine,
            tell=lambda connection: self._show(connection=connection),
            heard=self._calls.heard,
            mailbox=lambda mailbox: self._show(mailbox=mailbox),
            busy=lambda: bool(self._calls.live),
        )
        try:
            await link.run()
        finally:
            self._calls.abandon()
            self._link = None
            self._show(connection=Connection(), mailbox=Mailbox())

    def _go_online(self, ident: str | None) -> None:
        """With this account, also if it is the one in use: its settings are others now."""
        self._wanted = ident
        self._show()
        self._turn.set()

    def _save(self, settings: Settings) -> None:
        try:
            self._store.save(settings)
        except StorageError as error:
            raise CommandProblem(f"the settings cannot be saved: {error}", "storage") from None
        self.settings = settings
        self.sound.use(settings)
        self._show()

    # -- commands ----------------------------------------------------------------------------------------------------

    async def do(self, command: object) -> Any:
        """Carries out a command of `sipproto_phone.commands` and returns its answer, a value for JSON.

        Raises CommandProblem for what is not possible, in one line for the user. When the waiting is cancelled the command
        is carried out all the same.
        """
        handler = self._carry_out.get(type(command))
        if handler is None:
            raise CommandProblem("there is no such command", "unknown_command")
        if not self._open:
            raise CommandProblem("the phone is closed", "closed")
        carrying_out = _CarryingOut(handler, command)
        self._tasks.start_soon(carrying_out.run)  # a view that goes away must not leave a call half answered
        return await carrying_out.answer()

    def _table(self) -> dict[type, Callable[[Any], Awaitable[Any]]]:
        """What each command does. Those that end at once are plain functions behind `_now`."""
        calls, journal = self._calls, self.journal
        return {
            c.Dial: _now(lambda x: calls.dial(x.number)),
            c.Redial: _now(lambda x: calls.redial()),
            c.Answer: lambda x: calls.answer(x.call),
            c.HangUp: lambda x: calls.hang_up(x.call),
            c.Hold: lambda x: calls.hold(x.call),
            c.Resume: lambda x: calls.resume(x.call),
            c.Mute: _now(lambda x: calls.get(x.call).mute(x.muted)),
            c.SendDigits: lambda x: calls.get(x.call).send_digits(x.digits),
            c.Transfer: _now(lambda x: calls.transfer(x.call, x.number, x.other)),
            c.SetVolume: _now(self._set_volume),
            c.ChooseDevices: self._choose_devices,
            c.RefreshDevices: lambda x: self.sound.refresh(),
            c.SaveAccount: self._save_account,
            c.UseAccount: _now(self._use_account),
            c.RemoveAccount: self._remove_account,
            c.GetAccount: _now(lambda x: as_json(self._account(x.id))),
            c.Connect: self._connect,
            c.Disconnect: _now(lambda x: self._go_online(None)),
            c.TrustCertificate: _now(self._trust_certificate),
            c.GetSettings: _now(self._get_settings),
            c.SaveSettings: _now(self._save_settings),
            c.DismissNotice: _now(lambda x: self._show(notice="")),
            c.ListCalls: _now(lambda x: _listed(journal.calls, x, search=x.search, missed=x.missed)),
            c.ExportCalls: _now(lambda x: journal.export_csv()),
            c.ImportCalls: _now(lambda x: journal.import_csv(x.csv)),
            c.ClearCalls: _now(lambda x: journal.clear_calls()),
            c.ListTickets: _now(lambda x: _listed(journal.tickets, x, search=x.search, status=x.status)),
            c.SaveTicket: _now(self._save_ticket),
            c.RemoveTicket: _now(lambda x: journal.remove_ticket(x.id)),
            c.GetState: _now(lambda x: as_json(self._state)),
            c.Quit: _now(lambda x: self._quit.set()),
        }

    def _set_volume(self, command: c.SetVolume) -> None:
        if not 0 <= command.volume <= 1:
            raise CommandProblem("a volume is from 0 to 1", "bad_field")
        self._save(evolve(self.settings, volume=float(command.volume)))

    async def _choose_devices(self, command: c.ChooseDevices) -> None:
        self._save(with_devices(self.settings, command.microphone, command.speaker, command.ringer))
        await self.sound.prepare()
        self.sound.recover()
        self._show()

    async def _save_account(self, command: c.SaveAccount) -> str:
        """Returns the id. Beside the fields of Account there may be `turn_password`, for the password store."""
        given = dict(command.account)
        turn_password = given.pop("turn_password", None)
        ident = given.pop("id", "") or token(SystemTokens(), 12)
        before = next((one for one in self.settings.accounts if one.id == ident), None)
        if not isinstance(ident, str) or "/" in ident or len(ident) > 64 or self._is_of_demo(ident):
            raise CommandProblem("this account cannot be changed", "no_account")
        if before is None and len(self.settings.accounts) >= _MOST_ACCOUNTS:
            raise CommandProblem(f"{_MOST_ACCOUNTS} accounts are the most", "not_possible")
        account = changed(before or Account(id=ident), given, fixed=("id",))
        await anyio.to_thread.run_sync(check_account, account, self._make_engine)
        if command.password is not None:
            await self._keep(ident, command.password)
        if isinstance(turn_password, str):
            await self._keep(f"{ident}/turn", turn_password)
        others = self.settings.accounts
        accounts = tuple(account if one.id == ident else one for one in others) if before else (*others, account)
        self._save(evolve(self.settings, accounts=accounts, active_account=ident))
        await self._know_passwords()
        self._go_online(ident)
        return ident

    async def _keep(self, ident: str, password: str) -> None:
        store = self._passwords
        try:
            if password:
                await anyio.to_thread.run_sync(store.set, ident, password)
            else:
                await anyio.to_thread.run_sync(store.remove, ident)
        except StorageError as error:
            raise CommandProblem(f"the password cannot be kept: {error}", "storage") from None

    def _use_account(self, command: c.UseAccount) -> None:
        account = self._account(command.id)
        if not self._is_of_demo(account.id):
            self._save(evolve(self.settings, active_account=account.id))
        self._go_online(account.id)

    async def _remove_account(self, command: c.RemoveAccount) -> None:
        account = self._account(command.id)
        if self._is_of_demo(account.id):
            raise CommandProblem("this account cannot be changed", "no_account")
        left = tuple(one for one in self.settings.accounts if one.id != account.id)
        active = self.settings.active_account
        self._save(evolve(self.settings, accounts=left, active_account="" if active == account.id else active))
        await self._keep(account.id, "")
        await self._keep(f"{account.id}/turn", "")
        if self._wanted == account.id:
            self._go_online(None)
        self._show()

    async def _connect(self, command: c.Connect) -> None:
        if self._wanted is None:
            if not self.settings.active_account and self._demo is None:
                raise CommandProblem("there is no account to connect with", "no_account")
            self._go_online(self.settings.active_account or (self._demo[0].id if self._demo else None))
        elif self._link is not None:
            await self._link.try_now()
        else:
            self._turn.set()

    def _trust_certificate(self, command: c.TrustCertificate) -> None:
        """For the host and the fingerprint that were shown: what a user has not seen cannot be trusted."""
        shown = self._state.connection.certificate
        wanted = Pin(host=command.host, fingerprint=command.fingerprint)
        if shown is None or Pin(host=shown.host, fingerprint=shown.fingerprint) != wanted:
            raise CommandProblem("this is not the certificate that the server has shown", "not_possible")
        account = self.account
        pins = tuple(pin for pin in account.pins if not pin.lower().startswith(f"{wanted.host}="))
        account = evolve(account, pins=(*pins, f"{wanted.host}={wanted.fingerprint}"))
        accounts = tuple(account if one.id == account.id else one for one in self.settings.accounts)
        self._save(evolve(self.settings, accounts=accounts))
        self._go_online(account.id)

    def _get_settings(self, _: c.GetSettings) -> Any:
        plain = as_json(self.settings)
        for name in ("accounts", "active_account"):
            del plain[name]
        return plain

    def _save_settings(self, command: c.SaveSettings) -> None:
        settings = changed(self.settings, command.settings, fixed=("accounts", "active_account"))
        if settings.language not in ("", *_LANGUAGES):
            raise CommandProblem(f"the languages are {', '.join(_LANGUAGES)}", "settings")
        if not 1 <= settings.ring_seconds <= LONGEST_RING or not math.isfinite(settings.volume):
            raise CommandProblem(f"a caller rings for 1 to {LONGEST_RING:g} seconds", "settings")
        if not 0 <= settings.volume <= 1:
            raise CommandProblem("a volume is from 0 to 1", "settings")
        if len(settings.region) != 2 or not settings.region.isalpha():
            raise CommandProblem("a region is two letters, such as RU", "settings")
        self._save(evolve(settings, region=settings.region.upper()))

    def _save_ticket(self, command: c.SaveTicket) -> Any:
        values = {
            name: getattr(command, name) for name in ("id", "customer", "contact", "number", "text", "status", "call")
        }
        ticket = self.journal.save_ticket(values, self._clock())
        if self._on_ticket is not None and self.settings.webhook:
            self.start(self._tell_ticket, self._on_ticket(ticket, self.settings.webhook))
        return as_json(ticket)

    async def _tell_ticket(self, telling: Coroutine[Any, Any, object]) -> None:
        try:
            await telling
        except SipProtoError as error:
            self.notice(str(error))

    def _last_number(self) -> str:
        try:
            recent = self.journal.calls(search="", missed=False, before=None, limit=50)
        except SipProtoError as error:
            self.notice(str(error))
            return ""
        return next((entry.number for entry in recent if not entry.incoming), "")


class _CarryingOut:
    """A command under way, and its answer."""

    def __init__(self, handler: Callable[[Any], Awaitable[Any]], command: object) -> None:
        self._handler = handler
        self._command = command
        self._done = anyio.Event()
        self._answer: Any = None
        self._problem: CommandProblem | None = CommandProblem("the phone was closed", "closed")

    async def run(self) -> None:
        try:
            self._answer = await self._handler(self._command)
            self._problem = None
        except CommandProblem as problem:
            self._problem = problem
        except EndpointClosed:
            self._problem = CommandProblem("the connection was closed", "offline")
        except (SipProtoError, OSError) as error:
            self._problem = CommandProblem(str(error))
        finally:
            self._done.set()

    async def answer(self) -> Any:
        await self._done.wait()
        if self._problem is not None:
            raise self._problem
        return self._answer


def _now(function: Callable[[Any], Any]) -> Callable[[Any], Awaitable[Any]]:
    async def carried_out(command: Any) -> Any:
        return function(command)

    return carried_out


def _listed(ask: Callable[..., tuple[Any, ...]], command: Any, **what: Any) -> list[Any]:
    limit = max(1, min(_MOST_ENTRIES, command.limit))
    return [as_json(entry) for entry in ask(before=command.before, limit=limit, **what)]


def _system_language() -> str:
    return "ru" if (locale.getlocale()[0] or "").lower().startswith("ru") else "en"
