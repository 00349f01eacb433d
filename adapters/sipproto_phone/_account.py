"""What an account means to the client: an agent, connections, a server address and ICE servers."""

from __future__ import annotations

from collections.abc import Callable

from sipproto.agent import AgentConfig, Waits
from sipproto.auth import Secret
from sipproto.errors import LocalProtocolError, SipProtoError
from sipproto.message import escape_user
from sipproto.negotiation import MediaCapabilities
from sipproto_aiortc import AiortcEngine, IceServer
from sipproto_client import FlowSettings, TlsSettings, parse_host_mapping, parse_pin
from sipproto_phone.commands import CommandProblem
from sipproto_phone.ports import Account

MakeEngine = Callable[[tuple[IceServer, ...]], AiortcEngine]
TRANSPORTS = ("wss", "ws", "tls", "tcp", "udp")
LONGEST_RING = 600.0  # seconds: the most that `Settings.ring_seconds` may be
_WAITS = Waits(connect=12.0, answer=LONGEST_RING + 30)


def domain_of(account: Account) -> str:
    """As it stands in addresses: IPv6 in brackets."""
    return f"[{account.server}]" if ":" in account.server and "[" not in account.server else account.server


def server_url(account: Account) -> str:
    """Where to connect to."""
    if account.proxy:
        return account.proxy
    port = f":{account.port}" if account.port else ""
    if account.transport in ("ws", "wss"):
        path = account.path if account.path.startswith("/") else f"/{account.path}"
        return f"{account.transport}://{domain_of(account)}{port}{path}"
    return f"sip:{domain_of(account)}{port};transport={account.transport}"


def flow_settings(account: Account) -> FlowSettings:
    """Raises LocalProtocolError."""
    return FlowSettings(
        tls=TlsSettings(ca_file=account.ca_file or None, pins=tuple(map(parse_pin, account.pins)), show_untrusted=True),
        hosts=tuple(map(parse_host_mapping, account.hosts)),
    )


def agent_config(account: Account, password: str, capabilities: MediaCapabilities | None) -> AgentConfig:
    """Raises LocalProtocolError."""
    return AgentConfig(
        aor=f"sip:{escape_user(account.login)}@{domain_of(account)}",
        display_name=account.display_name,
        secrets=(Secret(username=account.login, password=password),),
        user_agent="sipproto phone",
        register_expires=account.expires,
        capabilities=capabilities,
        waits=_WAITS,
    )


def ice_servers(account: Account, password: str | None) -> tuple[IceServer, ...]:
    """password: of the TURN user."""
    return tuple(
        IceServer(url, username=account.turn_user, credential=password or "")
        if url.lower().startswith("turn") and account.turn_user
        else IceServer(url)
        for url in account.ice_servers
    )


def check_account(account: Account, make_engine: MakeEngine) -> None:
    """Raises CommandProblem for what can never work, in one line that says which."""
    if not account.server or not account.login:
        raise CommandProblem("an account needs a server and a login", "settings")
    if account.transport not in TRANSPORTS:
        raise CommandProblem(f"the transport is one of {', '.join(TRANSPORTS)}", "settings")
    if not 0 <= account.port <= 65535:
        raise CommandProblem("a port is a number from 1 to 65535, or 0 for the usual one", "settings")
    if not 30 <= account.expires <= 86_400:
        raise CommandProblem("a registration lasts 30 to 86400 seconds", "settings")
    try:
        flow = flow_settings(account)
        flow.host_of(server_url(account))
        flow.tls.context()
        agent_config(account, "", None)
        make_engine(ice_servers(account, "")).close()
    except (LocalProtocolError, ValueError) as error:
        raise CommandProblem(str(error), "settings") from None
    except SipProtoError as error:
        raise CommandProblem(str(error), "settings") from None
