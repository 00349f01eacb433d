"""What the documentation shows is true: its examples run, its diagrams are those of the tables, its links lead somewhere."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from sipproto_anyio import AnyioRuntime
from sipproto_server import ServerConfig, run_server

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
_PATH = os.pathsep.join(str(ROOT / part) for part in (".", "runtimes", "adapters"))


def run_example(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        env={**os.environ, "PYTHONPATH": _PATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("parse_message.py", "Smith"),
        ("two_agents.py", "BYE"),
        ("authentication.py", "a token is wanted: sip from https://as.example.com"),
        ("call_echo.py", "Hz"),
        ("balancing.py", "sent with 500000 bit/s, scaled by 3"),
        ("presence.py", "the end: noresource"),
        ("trio_call.py", "nobody: not_found 404"),
        ("trace_call.py", "all equal"),
        ("transfer.py", "a call from sip:bob@example.com that replaces in-1"),
        ("custom_transport.py", "bob answers 200"),
        ("echo_bot.py", "Hz\nthe call is over"),
        ("record_and_reply_bot.py", "the end: terminated"),
        ("statistics.py", '"framesDecoded"'),
        ("recovery.py", "the call goes on after"),
        ("conference_messages.py", "X-VINTEO-NOTIFY WebcastStarted has no type"),
        ("conference_quick_start.py", "media are received\nthe call has ended"),
        ("conference_incoming.py", "bob hears: BUSY 486"),
        ("conference_presentation.py", "refused: REFUSED 603"),
        ("conference_participants.py", "ICE restarted: True"),
        ("conference_events.py", "with the password in it: False"),
        ("conference_testing_with_a_server.py", "the application does what it should"),
        ("conference_server.py", "the call is over: terminated"),
        ("testing_a_bot.py", "the bot does what it should"),
        ("conference_testing.py", "the meeting does what it should"),
    ],
)
def test_example_runs(name: str, says: str) -> None:
    assert says in run_example(name)


COURSES = {
    "conference_streams.py": """\
a line of video
streams, the same for 0.2 s: ('0', '1')
right now: 1
the engine sends the other one: True
somebody presents on the line 2
and does so no more: None
""",
    "conference_ice_restart.py": """\
restarted by hand: True
the server wants it: SENDRECV
restarted: True, automatically: True
ICE is another one each time: True
""",
    "conference_statistics.py": """\
there is something to measure: True
video: sent 320 wide, received 320 wide
the available incoming bit rate is known
after one of 4 ms the next in 1 s
after one of 20 ms the next in 2 s
after one of 40 ms the next in 3 s
after one of 60 ms the next in 4 s
""",
    "conference_polling.py": """\
it is 720x1280 now, noticed at 47.5 s
measured at 0.5 1.5 3.5 7.5 15.5 23.5 31.5 39.5 47.5 48.0 49.0 s
a picture of unknown size: 4000000
a picture of 1280x720: 1000000
a picture of 640x360: 500000
""",
    "conference_balancer.py": """\
video-balancer:balancing-scheduled
video-balancer:balancing-started
before any wish: 640 wide, 500000 bit/s
the server wants 320x180: 320 wide, 320000 bit/s
it pauses the camera: 16 wide, 60000 bit/s
video-balancer:balancing-stopped
as without balancing: 640 wide, None bit/s
video-balancer:balancing-started
the server wants the camera again: 640 wide, 500000 bit/s
""",
    "conference_queue.py": """\
the first: SUPERSEDED
the second is connected
a ping is answered while they wait: True
registered anew: [1, 2]
the third: CANCELED
disconnected: True
""",
    "conference_debugging.py": """\
CONNECTION_FAILED is WS_CONNECTION_FAILED for the user; the password is told: False
WRONG_USER_OR_PASSWORD is WRONG_USER_OR_PASSWORD for the user; the password is told: False
NOT_FOUND 404: 404 Not Found
registered: True call: in_room
nothing is logged any more: True
the log: more than 50 lines: True, secrets in it: []
the recording: more than 50 lines: True, secrets in it: []
""",
}


@pytest.mark.parametrize("name", COURSES)
def test_example_takes_its_course(name: str) -> None:
    assert COURSES[name] in run_example(name)


def test_selectors_example_runs() -> None:
    async def main() -> str:
        config = ServerConfig(realm="example.invalid", users={"alice": "secret"})
        async with run_server(AnyioRuntime(), config) as server:
            arguments = (str(server.port), "alice", "secret", "example.invalid")
            return await anyio.to_thread.run_sync(run_example, "selectors_loop.py", *arguments)

    assert "Unregister CommandSucceeded" in anyio.run(main)


def test_the_ladder_of_the_documentation_is_that_of_its_example() -> None:
    drawn, _, _ = run_example("trace_call.py").partition("done again")
    assert f"```\n{drawn}```" in (ROOT / "docs" / "trace.md").read_text()


def test_the_course_of_balancing_in_the_documentation_is_that_of_its_example() -> None:
    assert f"```\n{run_example('balancing.py')}```" in (ROOT / "docs" / "balancing.md").read_text()


def test_the_bitrates_of_the_documentation_are_those_of_the_table() -> None:
    from sipproto.media.bitrates import BITRATES, balanced_bitrate

    rows = [f"| {side} | {bitrate // 1000} | {balanced_bitrate(side, 'AV1') // 1000} |" for side, bitrate in BITRATES]
    assert "\n".join([*rows, "| more | 4000 | 2400 |"]) in (ROOT / "docs" / "balancing.md").read_text()


def test_every_example_is_tested() -> None:
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.glob("*.py")} <= tested


def test_diagrams_are_those_of_the_tables() -> None:
    module = runpy.run_path(str(ROOT / "docs" / "make_state_diagrams.py"))
    assert module["TARGET"].read_text() == module["render"](), "run python docs/make_state_diagrams.py"


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_every_cause_is_documented() -> None:
    from sipproto import Cause

    text = (ROOT / "docs" / "failures.md").read_text()
    assert {cause.value for cause in Cause} == set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_every_check_of_media_engines_is_documented() -> None:
    from sipproto_client.engine_testing import ENGINE_CHECKS

    _, _, section = (ROOT / "docs" / "media.md").read_text().partition("## Another engine")
    rows = [row for row in section.splitlines() if row.startswith("| `")]
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])] == list(ENGINE_CHECKS)
