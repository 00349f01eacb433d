"""The SIPp driver: what goes wrong is said in SIPp's own words, and nothing is left running."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sipproto_anyio import AnyioRuntime
from sipproto_client.port import Runtime
from tests.client.rig import play

from .ports import free_port
from .sipp import Sipp, SippFailure, expand, playing
from .sipp_stage import UDP, Act, Hurried, Stage, ways

pytestmark = pytest.mark.interop


@ways(UDP)
def test_an_answer_that_the_scenario_does_not_expect(stage: Stage) -> None:
    async def script(act: Act) -> None:
        await (await act.incoming()).hang_up(486)

    with pytest.raises(SippFailure, match=r"uac_call\.xml, ended with status 1\n(.*\n)*.*SIP/2\.0 486 Busy Here"):
        stage.play("uac_call", script)


def test_sipp_ends_with_the_block(tmp_path: Path) -> None:
    sipp = Sipp(tmp_path, "uas_call")

    async def scenario(runtime: Runtime) -> None:
        async with playing(runtime, sipp):
            raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block") as error:
        play("anyio-asyncio", scenario)
    assert any("uas_call.xml, still running" in note for note in error.value.__notes__)
    assert sipp.pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(sipp.pid, 0)


def test_a_scenario_that_sipp_does_not_take(tmp_path: Path) -> None:
    async def scenario(runtime: Runtime) -> None:
        async with playing(runtime, Sipp(tmp_path, "uac_call", server=1, values={"BODY": "[nonsense]"})):
            pass

    began = time.monotonic()
    with pytest.raises(SippFailure, match="nonsense"):
        play("anyio-asyncio", scenario)
    assert time.monotonic() - began < 5


def test_parts_are_put_in() -> None:
    text = "<scenario>\n@login INVITE@|@check Allow: a b@|@NAME@\n</scenario>"
    alone = expand(text, {"NAME": "@end@"}, through_proxy=False)
    assert '\n|<ereg regexp="a b" search_in="hdr" header="Allow:"' in alone
    assert "|Content-Length: 0\n" in alone
    assert '<Reference variables="check"/>\n</scenario>' in alone
    proxied = expand(text, {"NAME": "", "HOPS": "9"}, through_proxy=True)
    assert proxied.index("INVITE sip:") < proxied.index('<recv response="407"') < proxied.index("ACK sip:")
    assert "Max-Forwards: 9\n" in proxied


def test_runtime_in_a_hurry() -> None:
    async def scenario(runtime: Runtime) -> None:
        fast = Hurried(50.0)
        began, real = fast.now(), AnyioRuntime().now()
        assert not await fast.wait(fast.event(), 10.0)
        assert 10.0 <= fast.now() - began < 60.0
        assert AnyioRuntime().now() - real < 2.0

    play("anyio-asyncio", scenario)


def test_no_port_is_given_twice() -> None:
    assert len({free_port("tcp") for _ in range(1000)}) == 1000
