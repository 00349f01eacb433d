"""A second start finds the first one, and nobody else can."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.to_thread import run_sync

from sipproto_phone.commands import CommandProblem, Dial
from sipproto_phone.instance import FILE, LOCK, OPENER, number_of_link, only_phone, running_phone, told
from sipproto_phone.web import MAX_COMMAND, run_page

from .test_headless import started
from .test_web import StandIn, entered, origin

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def hand_over(directory: Path, command: str, **fields: Any) -> Any:
    with running_phone(directory) as running:
        assert running is not None
        return running.do(command, **fields)


def is_running(directory: Path) -> bool:
    with running_phone(directory) as running:
        return running is not None


async def test_the_second_start_hands_over(tmp_path: Path) -> None:
    phone = StandIn()
    with anyio.fail_after(20):
        async with run_page(phone) as page:
            assert not await run_sync(is_running, tmp_path)
            with told(page, tmp_path) as opener:
                for path in (tmp_path / FILE, opener):
                    assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert page.url in opener.read_text()
                assert await run_sync(lambda: hand_over(tmp_path, "dial", number="600")) == "call-1"
                assert phone.done == [Dial(number="600")]
                with pytest.raises(CommandProblem, match="that number cannot be called"):
                    await run_sync(lambda: hand_over(tmp_path, "dial", number="fail"))
            assert not (tmp_path / FILE).exists() and not (tmp_path / OPENER).exists()


async def test_what_a_dead_phone_has_left_behind(tmp_path: Path) -> None:
    with anyio.fail_after(20):
        async with run_page(StandIn()) as page:
            dead = page
        (tmp_path / FILE).write_text(json.dumps({"port": dead.port, "token": dead.token}))
        assert not await run_sync(is_running, tmp_path)
        for left in ("", "[]", '{"port": "x"}', '{"port": 0, "token": "x"}', '{"port": 80, "token": "ü"}', "\x00"):
            (tmp_path / FILE).write_text(left)
            assert not await run_sync(is_running, tmp_path)
        # The port may be of somebody else now, who does not know the token.
        async with run_page(StandIn()) as other:
            (tmp_path / FILE).write_text(json.dumps({"port": other.port, "token": dead.token}))
            assert not await run_sync(is_running, tmp_path)
            with told(other, tmp_path):
                later = {"port": 1, "token": "of a later phone"}
                (tmp_path / FILE).write_text(json.dumps(later))
            assert json.loads((tmp_path / FILE).read_text()) == later


async def test_exactly_one_phone_runs(tmp_path: Path) -> None:
    def second(patience: float) -> bool:
        """Whether it hands over; else it is the one."""
        with only_phone(tmp_path, patience=patience) as running:
            return running is not None

    with anyio.fail_after(30), only_phone(tmp_path) as running:
        assert running is None
        with pytest.raises(CommandProblem, match="does not answer"):
            await run_sync(second, 0.0)
        async with run_page(StandIn()) as page, anyio.create_task_group() as tasks:

            async def up_a_little_later() -> None:
                await anyio.sleep(0.2)
                with told(page, tmp_path):
                    await handed.wait()

            handed = anyio.Event()
            tasks.start_soon(up_a_little_later)
            assert await run_sync(second, 20.0)  # it waits for a phone that is still starting
            handed.set()
    assert not second(0.0)  # the first has ended
    assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) == 0o600


def test_the_lock_of_a_phone_that_was_killed_is_gone(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from sipproto_phone.instance import only_phone\n"
        "with only_phone(pathlib.Path(sys.argv[1])) as running: print(running, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None and killed.stdout.readline() == "None\n"
        with pytest.raises(CommandProblem, match="does not answer"), only_phone(tmp_path, patience=0.0):
            pass
        killed.kill()
        killed.wait(20)
        with only_phone(tmp_path, patience=0.0) as running:
            assert running is None


@pytest.mark.interop  # for its time
def test_of_phones_that_start_at_once_one_runs(tmp_path: Path) -> None:
    with ExitStack() as every:
        phones = [every.enter_context(started(tmp_path, "--no-browser")) for _ in range(3)]
        for phone in phones:
            phone.until("the phone runs already", "open http://127.0.0.1")
        one = [phone for phone in phones if any("open http" in line for line in phone.lines)]
        assert len(one) == 1
        assert [phone.ended() for phone in phones if phone not in one] == [0, 0]
        one[0].process.kill()
        one[0].process.wait()
        every.enter_context(started(tmp_path, "--no-browser")).until("open http://127.0.0.1")


async def test_commands_by_post_are_for_the_user_alone() -> None:
    phone = StandIn()
    with anyio.fail_after(20):
        async with run_page(phone) as page, httpx.AsyncClient(base_url=f"http://127.0.0.1:{page.port}") as http:
            mine, wanted = await entered(page), {"command": "dial", "fields": {"number": "600"}}
            for headers, status in (
                (origin(page), 401),
                ({**mine, "Authorization": "Bearer x"}, 401),
                ({**mine, "Authorization": mine["Authorization"].replace("Bearer", "Basic")}, 401),
                ({**mine, "Origin": "http://evil.example"}, 403),
                ({"Authorization": mine["Authorization"]}, 403),
            ):
                assert (await http.post("/do", json=wanted, headers=headers)).status_code == status
            assert not phone.done
            for content in (b"", b"no json", b"[]", b"[" * 10_000, b'{"command": 1}', b"x" * (MAX_COMMAND + 1)):
                answer = await http.post("/do", content=content, headers=mine)
                assert answer.json()["error"]["code"] == "bad_message"
            crash = {"command": "dial", "fields": {"number": "crash"}}
            assert "hunter2" not in (await http.post("/do", json=crash, headers=mine)).text


@pytest.mark.parametrize(
    ("link", "number"),
    [
        ("600", "600"),
        (" sip:123@example.com ", "sip:123@example.com"),
        ("SIP:123@example.com", "sip:123@example.com"),
        ("sip://123@example.com", "sip:123@example.com"),
        ("tel:+7-921-123-45-67", "+7-921-123-45-67"),
        ("TEL:7042;phone-context=example.com", "7042"),
    ],
)
async def test_links(link: str, number: str) -> None:
    assert number_of_link(link) == number


@pytest.mark.parametrize("link", ["", "tel:", "tel:;x=1", "6\x1b[2J"])
async def test_links_that_name_nobody(link: str) -> None:
    with pytest.raises(CommandProblem):
        number_of_link(link)
