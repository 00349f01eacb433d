"""The `sipproto` command."""

from __future__ import annotations

import enum
import json
import logging
from typing import Annotated

import typer
from attrs import evolve

import sipproto
from sipproto_cli._common import INTERRUPTED, Account, CommandProblem, RuntimeName, check_account, run, say
from sipproto_cli._trace import app as trace_app
from sipproto_server import Verdict

app = typer.Typer(
    name="sipproto",
    help="SIP over WebSocket, UDP, TCP and TLS with WebRTC media: make, take and script calls. Start with `sipproto demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


class DemoName(enum.StrEnum):
    """What `demo` shows."""

    CONFERENCE = "conference"
    CALL = "call"


app.add_typer(trace_app)

_SERVER = (
    "The server: wss://sip.example.com:443/ws, sip:example.com;transport=tcp, sips:example.com, udp://192.0.2.1:5060"
)
Server = Annotated[str, typer.Option("--ws", "--server", metavar="ADDRESS", help=_SERVER)]
User = Annotated[str, typer.Option("--user", help="User name, without the domain")]
Domain = Annotated[str | None, typer.Option("--domain", help="SIP domain; the host of the server when not given")]
Password = Annotated[
    str | None,
    typer.Option(envvar="SIPPROTO_PASSWORD", help="Better given in SIPPROTO_PASSWORD than on the command line"),
]
Name = Annotated[str, typer.Option("--name", help="Display name that the other side sees")]
CaFile = Annotated[str | None, typer.Option("--ca-file", help="PEM file with the authority of a private server")]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=ADDRESS[:PORT]",
        help="Connect to this address for that host name, as often as wanted; certificates stay those of the name",
    ),
]
Runtime = Annotated[RuntimeName, typer.Option("--runtime", help="The event loop to run on")]
Json = Annotated[bool, typer.Option("--json", help="Events as JSON lines")]
Loopback = Annotated[bool, typer.Option("--loopback", help="Offer 127.0.0.1 for media too (peers on this machine)")]
Duration = Annotated[float | None, typer.Option(min=0.1, help="Hang up after so many seconds")]
Grace = Annotated[
    float,
    typer.Option(min=0, max=3600, help="Let a call outlive a lost connection for so many seconds; 0: do not reconnect"),
]
Record = Annotated[str | None, typer.Option(help="Record what is heard and seen to this file (.mkv .mp4 .wav)")]
Tone = Annotated[float, typer.Option(min=20, max=20000, help="Send a tone of so many Hz")]
File = Annotated[str | None, typer.Option("--file", help="Send the audio (and video) of this file instead")]
Microphone = Annotated[
    str | None,
    typer.Option("--microphone", metavar="NAME", help="Send what a microphone hears: `default`, or part of a name"),
]
Speaker = Annotated[
    str | None, typer.Option("--speaker", metavar="NAME", help="Play what is heard: `default`, or part of a name")
]
EchoCancellation = Annotated[
    bool, typer.Option("--echo-cancellation", help="Take out of the microphone what the speaker plays (extra: aec)")
]
Video = Annotated[bool, typer.Option("--video/--no-video", help="With video")]
Trace = Annotated[
    str | None,
    typer.Option("--trace", help="Record everything but secrets to this file, for `sipproto trace` and bug reports"),
]
TraceBodies = Annotated[
    bool, typer.Option("--trace-bodies/--trace-no-bodies", help="With the texts of messages and digits, or without")
]


def account_of(
    server: str,
    user: str,
    domain: str | None,
    password: str | None,
    *,
    name: str = "",
    ca_file: str | None = None,
    maps: list[str] | None = None,
    trace: str | None = None,
    trace_bodies: bool = True,
) -> Account:
    from sipproto.errors import LocalProtocolError
    from sipproto_client import TraceFile, parse_host_mapping

    try:
        account = Account(
            server=server,
            user=user,
            domain="",
            password=password,
            display_name=name,
            ca_file=ca_file,
            hosts=tuple(map(parse_host_mapping, maps or ())),
            trace=None if trace is None else TraceFile(trace, bodies=trace_bodies),
        )
        host = account.flow().host_of(server)
    except LocalProtocolError as error:
        raise CommandProblem(str(error)) from None
    account = evolve(account, domain=domain or (f"[{host}]" if ":" in host else host))
    check_account(account)
    return account


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens to standard error")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.CRITICAL, format="%(levelname)s %(name)s: %(message)s"
    )


@app.command()
def demo(
    story: Annotated[
        DemoName,
        typer.Argument(help="conference: a room with three participants; call: two phones, INFO, digits, hold"),
    ] = DemoName.CONFERENCE,
    runtime: Runtime = RuntimeName.ASYNCIO,
    as_json: Json = False,
    ladder: Annotated[bool, typer.Option("--ladder", help="Print all SIP messages at the end")] = False,
) -> None:
    """Show a real conference on this machine: a server and three participants with sound, pictures, a presentation."""

    def out(fields: dict[str, object]) -> None:
        print(json.dumps(fields))

    output = out if as_json else None
    if story is DemoName.CALL:
        from sipproto_cli._demo._call import run_call_demo as play
    else:
        from sipproto_cli._demo._conference import run_conference_demo as play
    raise typer.Exit(run(runtime, lambda rt: play(rt, json_output=output, ladder_wanted=ladder)))


@app.command()
def call(
    target: Annotated[str, typer.Argument(help="Whom to call: sip:600@example.com, or a number of the domain")],
    server: Server,
    user: User,
    domain: Domain = None,
    password: Password = None,
    name: Name = "",
    ca_file: CaFile = None,
    maps: Map = None,
    video: Video = False,
    tone: Tone = 440.0,
    file: File = None,
    record: Record = None,
    microphone: Microphone = None,
    speaker: Speaker = None,
    echo_cancellation: EchoCancellation = False,
    duration: Duration = None,
    register: Annotated[bool, typer.Option("--register", help="Register before calling")] = False,
    grace: Grace = 30.0,
    loopback: Loopback = False,
    as_json: Json = False,
    trace: Trace = None,
    trace_bodies: TraceBodies = True,
    runtime: Runtime = RuntimeName.ASYNCIO,
) -> None:
    """Call somebody, send a tone, a file or a microphone, print what comes back. Ends after --duration or by Ctrl-C."""
    from sipproto_cli._call import CallOptions, run_call

    account = account_of(
        server, user, domain, password, name=name, ca_file=ca_file, maps=maps, trace=trace, trace_bodies=trace_bodies
    )
    settings = CallOptions(
        video=video,
        tone=tone,
        file=file,
        record=record,
        microphone=microphone,
        speaker=speaker,
        echo_cancellation=echo_cancellation,
        duration=duration,
        grace=grace,
        json=as_json,
        register=register,
        include_loopback=loopback,
    )
    raise typer.Exit(run(runtime, lambda rt: run_call(rt, account, target, settings)))


@app.command()
def answer(
    server: Server,
    user: User,
    domain: Domain = None,
    password: Password = None,
    name: Name = "",
    ca_file: CaFile = None,
    maps: Map = None,
    video: Video = True,
    tone: Tone = 660.0,
    file: File = None,
    record: Record = None,
    microphone: Microphone = None,
    speaker: Speaker = None,
    echo_cancellation: EchoCancellation = False,
    duration: Duration = None,
    once: Annotated[bool, typer.Option("--once", help="End after the first call")] = False,
    grace: Grace = 30.0,
    loopback: Loopback = False,
    as_json: Json = False,
    trace: Trace = None,
    trace_bodies: TraceBodies = True,
    runtime: Runtime = RuntimeName.ASYNCIO,
) -> None:
    """Register and answer whoever calls, one after the other."""
    from sipproto_cli._call import CallOptions, run_answer

    account = account_of(
        server, user, domain, password, name=name, ca_file=ca_file, maps=maps, trace=trace, trace_bodies=trace_bodies
    )
    settings = CallOptions(
        video=video,
        tone=tone,
        file=file,
        record=record,
        microphone=microphone,
        speaker=speaker,
        echo_cancellation=echo_cancellation,
        duration=duration,
        grace=grace,
        json=as_json,
        register=True,
        include_loopback=loopback,
    )
    raise typer.Exit(run(runtime, lambda rt: run_answer(rt, account, settings, once=once)))


@app.command()
def register(
    server: Server,
    user: User,
    domain: Domain = None,
    password: Password = None,
    ca_file: CaFile = None,
    maps: Map = None,
    stay: Annotated[bool, typer.Option("--stay", help="Stay registered until Ctrl-C")] = False,
    trace: Trace = None,
    trace_bodies: TraceBodies = True,
    runtime: Runtime = RuntimeName.ASYNCIO,
) -> None:
    """Register once, say what the server granted, and remove the registration again."""
    from sipproto_cli._simple import run_register

    account = account_of(
        server, user, domain, password, ca_file=ca_file, maps=maps, trace=trace, trace_bodies=trace_bodies
    )
    raise typer.Exit(run(runtime, lambda rt: run_register(rt, account, stay=stay)))


@app.command("options")
def options_(
    server: Server,
    target: Annotated[str | None, typer.Argument(help="Whom to ask; the domain itself when not given")] = None,
    user: User = "anonymous",
    domain: Domain = None,
    password: Password = None,
    ca_file: CaFile = None,
    maps: Map = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds to wait for the answer")] = 5.0,
    trace: Trace = None,
    trace_bodies: TraceBodies = True,
    runtime: Runtime = RuntimeName.ASYNCIO,
) -> None:
    """Ask whether a server or user is there; prints the status of the answer."""
    from sipproto_cli._simple import run_options

    account = account_of(
        server, user, domain, password, ca_file=ca_file, maps=maps, trace=trace, trace_bodies=trace_bodies
    )
    raise typer.Exit(run(runtime, lambda rt: run_options(rt, account, target, timeout)))


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one")] = 8088,
    realm: Annotated[str, typer.Option(help="Domain of the users")] = "sipproto.local",
    user: Annotated[
        list[str] | None, typer.Option("--user", help="name:password, as often as wanted; alice and bob when none")
    ] = None,
    guests: Annotated[bool, typer.Option("--guests", help="Callers without an account may call conferences")] = False,
    presentation: Annotated[Verdict, typer.Option(help="Who may present: ask the operator?")] = Verdict.ALLOW,
    camera: Annotated[Verdict, typer.Option(help="Who may turn the camera on who asks for it")] = Verdict.ALLOW,
    console: Annotated[bool, typer.Option(help="Take commands from standard input")] = True,
    api: Annotated[bool, typer.Option(help="The HTTP API of the operator, for this machine only")] = True,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one")] = 0,
    runtime: Runtime = RuntimeName.ASYNCIO,
) -> None:
    """Run the embedded server: registrar, relay, echo at 600, a room at 700, a conference at 800 (docs/server.md)."""
    from sipproto_cli._serve import ServeOptions, parse_users, run_serve
    from sipproto_server import ConferencePolicy

    options = ServeOptions(
        host=host,
        port=port,
        realm=realm,
        users=parse_users(user or []),
        guests=guests,
        policy=ConferencePolicy(presentation=presentation, camera=camera),
        console=console,
        api_port=api_port if api else None,
    )
    raise typer.Exit(run(runtime, lambda rt: run_serve(rt, options)))


@app.command()
def agent(
    server: Annotated[
        str | None, typer.Option("--ws", "--server", metavar="ADDRESS", help=f"Connect at once. {_SERVER}")
    ] = None,
    user: Annotated[str | None, typer.Option(help="User name")] = None,
    domain: Domain = None,
    password: Password = None,
    name: Name = "",
    ca_file: CaFile = None,
    maps: Map = None,
    register: Annotated[bool, typer.Option("--register", help="Register at once")] = False,
    loopback: Loopback = False,
    trace: Trace = None,
    trace_bodies: TraceBodies = True,
    runtime: Runtime = RuntimeName.ASYNCIO,
) -> None:
    """An endpoint driven by JSON lines on standard input, for bots and test benches (docs/agent.md)."""
    from sipproto_cli._agent import run_agent

    account = None
    if server is None and trace is not None:
        raise CommandProblem("--trace needs --server: a later `open` is not recorded")
    if server is not None:
        if user is None:
            raise CommandProblem("--server needs --user")
        account = account_of(
            server,
            user,
            domain,
            password,
            name=name,
            ca_file=ca_file,
            maps=maps,
            trace=trace,
            trace_bodies=trace_bodies,
        )
    raise typer.Exit(run(runtime, lambda rt: run_agent(rt, account, register=register, include_loopback=loopback)))


@app.command()
def phone(
    number: Annotated[
        str | None,
        typer.Argument(help="Call this number, or sip: or tel: link; a phone that runs already makes the call"),
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="With a server of its own: nothing to set up, nothing is kept")
    ] = False,
    headless: Annotated[bool, typer.Option("--headless", help="In the terminal: `help` lists the commands")] = False,
    window: Annotated[bool, typer.Option("--window", help="In a window of its own (needs pywebview)")] = False,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser")] = True,
    audio_devices: Annotated[
        bool, typer.Option(help="Use microphone and speaker; without them silence is sent, or a tone with --demo")
    ] = True,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one")] = 0,
    install_link_handler: Annotated[
        bool, typer.Option("--install-link-handler", help="Make this the program for sip: and tel: links, and end")
    ] = False,
) -> None:
    """A telephone: a page in your browser, calls with microphone and speaker (docs/phone.md). Try `sipproto phone --demo`."""
    try:
        from sipproto_cli._phone import PhoneOptions, start
    except ModuleNotFoundError as error:
        raise CommandProblem(f"{error.name} is not installed: pip install 'sipproto[phone]'") from None

    options = PhoneOptions(
        number=number,
        demo=demo,
        headless=headless,
        window=window,
        browser=browser,
        audio_devices=audio_devices,
        port=port,
        install_link_handler=install_link_handler,
    )
    raise typer.Exit(start(options))


@app.command()
def devices(as_json: Annotated[bool, typer.Option("--json", help="As JSON lines")] = False) -> None:
    """List microphones, speakers, cameras and screens, with the names that the options take."""
    from sipproto_cli._simple import print_devices

    print_devices(as_json=as_json)


@app.command()
def version() -> None:
    """Print the version."""
    print(sipproto.__version__)


def main() -> None:
    """The entry point of the `sipproto` command."""
    try:
        app()
    except CommandProblem as error:
        raise SystemExit(say(str(error))) from None
    except KeyboardInterrupt:  # before an event loop ran
        raise SystemExit(say("interrupted", INTERRUPTED)) from None
