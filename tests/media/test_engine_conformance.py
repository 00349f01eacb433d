"""The conformance suite for media engines: our engines keep every promise, and engines that break one are caught."""

from __future__ import annotations

import itertools

import pytest

from sipproto.agent.media import AskKeyFrame, CollectStats, MediaEngine, SendDigit, SetSenderParameters
from sipproto.testing import FakeMediaEngine
from sipproto_aiortc import AiortcEngine
from sipproto_client._engine_bench import Bench, EngineCase, exchange
from sipproto_client.engine_testing import ENGINE_CHECKS, check_media_engine
from tests.media.wrong_engines import FAULTS, Fault, Wire, WiredEngine


@pytest.mark.parametrize("check", ENGINE_CHECKS)
def test_aiortc_engine(check: str) -> None:
    check_media_engine(lambda: AiortcEngine(include_loopback=True), checks=[check])


def test_fake_engine() -> None:
    seeds = itertools.count(1)
    check_media_engine(lambda: FakeMediaEngine(seed=next(seeds)), has_media=False, patience=2.0)


def test_the_fake_engine_and_a_real_one_agree() -> None:
    """All but the path, which nothing leads along."""
    engines: list[MediaEngine] = [AiortcEngine(include_loopback=True), FakeMediaEngine()]
    case = EngineCase(make_engine=engines.pop, has_media=False, unsupported=frozenset(), patience=10.0)
    bench = Bench(case)
    fake, real = bench.pair()
    for offerer, answerer in ((fake, real), (real, fake)):
        offerer.negotiator.add_line("audio")
        offerer.negotiator.add_line("video")
        exchange(offerer, answerer)
    assert [line.codec.name for line in fake.lines] == ["opus", "VP8"] * 2
    assert fake.is_connected() and not real.is_connected()
    bench.close()


def test_the_right_one_of_the_wrong_engines() -> None:
    """What is found below is not the fault of what all of them have in common."""
    wire = Wire()
    check_media_engine(lambda: WiredEngine(wire), patience=2.0)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_broken_promise_is_found(fault: Fault) -> None:
    wire = Wire()
    patience = 1.0 if fault.check == "digits" else 0.3  # digits take their time
    with pytest.raises(AssertionError, match=f"^{fault.check}: .*{fault.says}"):
        check_media_engine(lambda: fault.engine(wire), patience=patience, checks=[fault.check])


def test_every_check_can_fail() -> None:
    assert {fault.check for fault in FAULTS} == set(ENGINE_CHECKS)


def test_what_is_declared_unsupported_may_not_be_done() -> None:
    wire = Wire()
    for kind, check in ((SetSenderParameters, "sender_parameters"), (AskKeyFrame, "key_frames"), (SendDigit, "digits")):
        with pytest.raises(AssertionError, match="declared unsupported"):
            check_media_engine(lambda: WiredEngine(wire), unsupported=frozenset({kind}), checks=[check])


def test_wrong_use_of_the_suite() -> None:
    with pytest.raises(ValueError, match="every engine has to support CollectStats"):
        check_media_engine(FakeMediaEngine, unsupported=frozenset({CollectStats}))
    with pytest.raises(ValueError, match=r"there are no checks \['speed'\]"):
        check_media_engine(FakeMediaEngine, checks=["speed"])
