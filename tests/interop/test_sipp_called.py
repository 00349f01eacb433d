"""SIPp calls us: what the called side says to a peer that insists on its rights."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import Cause, Waits
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.sdp import Direction
from sipproto.timers import TimerValues
from sipproto_client import CommandError
from tests.client.rig import ANSWER, OFFER

from .kamailio import Kamailio
from .sipp import playing
from .sipp_stage import CONFIG, DIRECT, PROXIED, TCP, UDP, Act, Stage, Way, register, ways

pytestmark = pytest.mark.interop
LOCAL, REMOTE = o.Originator.LOCAL, o.Originator.REMOTE
AUDIO = (("audio", Direction.SENDRECV),)
MEDIA = "@media sendrecv actpass 1@"
NOTHING = "Content-Length: 0\n\n"
TEXT = "Content-Type: text/plain\nContent-Length: [len]\n\nhello"
everywhere = ways(*DIRECT, *PROXIED)
directly = ways(*DIRECT)


@everywhere
def test_sipp_hangs_up(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        assert call.incoming is not None and call.incoming.audio and not call.incoming.video
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_call", script)


@everywhere
def test_we_hang_up(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        await call.hang_up()
        await act.ended(call, Cause.TERMINATED, LOCAL)

    stage.play("uac_hung_up", script)


@ways(UDP, Way("tcp", "tls"))
@pytest.mark.parametrize("status", [486, 603, 480])
def test_refused_by_the_user(stage: Stage, status: int) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.hang_up(status)

    stage.play("uac_refused", script, values=refusal(status, "CSeq: INVITE"))


@directly
def test_nobody_answers(stage: Stage) -> None:
    async def script(act: Act) -> None:
        await act.ended(await act.incoming(), Cause.NO_ANSWER, LOCAL)

    config = evolve(CONFIG, waits=Waits(answer=0.3))
    stage.play("uac_refused", script, values=refusal(480, "CSeq: INVITE"), config=config)


def refusal(status: int, says: str, extra: str = "", body: str = "@sdp@") -> dict[str, str]:
    # An empty line would end the header fields.
    return {"STATUS": str(status), "SAYS": says, "EXTRA": extra or "X-Nothing: odd", "BODY": body}


@pytest.mark.parametrize(
    "values",
    [
        refusal(420, "Unsupported: teleport", "Require: teleport"),
        refusal(415, "Accept: application/sdp", body=TEXT),
        refusal(415, "Accept-Encoding: identity", "Content-Encoding: gzip"),
        refusal(406, "CSeq: INVITE", "Accept: text/plain"),
        refusal(481, "CSeq: INVITE", "Replaces: nobody@nowhere;to-tag=1;from-tag=2".replace("@", "%")),
        refusal(422, "Min-SE: 90", "Supported: timer\nSession-Expires: 30"),
    ],
    ids=lambda values: f"{values['STATUS']}-{values['SAYS'].partition(':')[0]}",
)
@ways(UDP, TCP, Way("udp", "tcp"))
def test_invite_refused_by_rule(stage: Stage, values: dict[str, str]) -> None:
    async def script(act: Act) -> None:
        pass

    stage.play("uac_refused", script, values=values)


@ways(UDP, TCP, Way("tcp", "udp"))
def test_sipp_gives_up(stage: Stage) -> None:
    async def script(act: Act) -> None:
        await act.ended(await act.incoming(), Cause.CANCELED, REMOTE)

    stage.play("uac_cancel", script)


@directly
def test_cancel_crosses_our_answer(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_cancel_crossing", script)


@directly
def test_cancel_of_nothing(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        await act.sleep(0.3)
        assert call.ended is None
        await call.hang_up()

    stage.play("uac_cancel_late", script)


def again(stage: Stage) -> dict[str, str]:
    udp = '<pause milliseconds="800"/>'
    return {"AGAIN": udp if stage.way.theirs == "udp" else '<recv response="180"/>'}


@ways(UDP, TCP, Way("udp", "udp"))
def test_reliable_provisional_answers(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await act.endpoint.run(lambda n: i.Progress(command=n, call=call.ident, status=183, body=ANSWER))
        await act.event(o.InfoReceived)
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)
        rings = [message for message in act.sipp.received() if message.startswith("SIP/2.0 180")]
        assert len(rings) == 2, rings

    stage.play("uac_prack", script, values=again(stage))


@ways(UDP, TCP, Way("udp", "tcp"))
def test_early_answer_that_is_not_reliable(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await act.endpoint.run(lambda n: i.Progress(command=n, call=call.ident, status=183, body=ANSWER))
        await call.answer()
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_early", script)


@ways(UDP, TCP, Way("tcp", "tls"))
@pytest.mark.parametrize("scenario", ["uac_update", "uac_hold"])
def test_sipp_holds_and_resumes(stage: Stage, scenario: str) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(AUDIO)
        held = await act.event(o.CallHeld)
        resumed = await act.event(o.CallResumed)
        assert (held.originator, resumed.originator) == (REMOTE, REMOTE)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play(scenario, script, media=True, values={"BODY": MEDIA})


@ways(UDP, TCP, Way("udp", "tcp"))
@pytest.mark.parametrize("media", [False, True], ids=["body", "media"])
def test_the_offer_is_ours(stage: Stage, media: bool) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        assert call.incoming is not None and call.incoming.offer == b""
        if media:
            await call.answer(AUDIO)
        else:
            await call.answer(body=OFFER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    body = "@media sendrecv active 1@" if media else "@sdp@"
    stage.play("uac_late_offer", script, media=media, values={"BODY": body})


@ways(UDP, TCP, Way("udp", "tcp"))
def test_changes_of_both_sides_meet(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(AUDIO)
        await call.hold()
        assert call.held_by == {LOCAL}
        await call.hang_up()

    stage.play("uac_glare", script, media=True, values={"BODY": MEDIA})


@ways(UDP, TCP, Way("tcp", "tls"))
def test_one_change_after_the_other(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(AUDIO)
        await act.ended(call, Cause.TERMINATED, REMOTE)
        assert call.held_by == set()

    stage.play("uac_overlap", script, media=True, values={"BODY": MEDIA})


@ways(UDP, TCP, Way("udp", "tcp"))
def test_session_timer(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_timer", script)


@ways(Way("udp", "udp"), Way("tcp", "tls"))
def test_sipp_transfers_us(stage: Stage, kamailio: Kamailio) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        asked = await act.event(o.TransferRequested)
        assert asked.target == "sip:carol@rig.test" and asked.referred_by == "sip:grace@rig.test"
        carol = act.another("uas_hung_up", user="carol")
        async with playing(act.runtime, carol):
            await register(act.runtime, act.sipp.folder, kamailio, carol, "carol")
            await act.endpoint.run(
                lambda n: i.AcceptTransfer(command=n, transfer=asked.transfer, call="new", body=OFFER)
            )
            await act.ended(call, Cause.TERMINATED, REMOTE)
            await act.endpoint.run(lambda n: i.HangUp(command=n, call="new"))

    stage.play("uac_refer", script)


@ways(UDP, Way("udp", "tcp"))
def test_we_do_not_want_to_be_transferred(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        asked = await act.event(o.TransferRequested)
        await act.endpoint.run(lambda n: i.RejectTransfer(command=n, transfer=asked.transfer))
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_refer_rejected", script)


@ways(UDP, TCP, Way("tcp", "tls"))
def test_digits_both_ways(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        digit = await act.event(o.DtmfReceived)
        assert (digit.digit, digit.duration) == ("5", 160)
        await call.send_dtmf("9#")
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_info", script)


def alone(method: str, status: int, says: str, extra: str = NOTHING, hops: int = 70) -> dict[str, str]:
    return {"METHOD": method, "STATUS": str(status), "SAYS": says, "EXTRA": extra, "HOPS": str(hops)}


@pytest.mark.parametrize(
    "values",
    [
        alone("OPTIONS", 200, "Allow: INVITE"),
        alone("OPTIONS", 200, "Accept: application/sdp", hops=0),
        alone("SUBSCRIBE", 489, "CSeq: SUBSCRIBE", f"Event: presence\n{NOTHING}"),
        alone("DANCE", 501, "Allow: INVITE"),
        alone("REFER", 403, "CSeq: REFER", f"Refer-To: <sip:carol%rig.test>\n{NOTHING}"),
        alone("INFO", 481, "CSeq: INFO"),
        alone("OPTIONS", 420, "Unsupported: teleport, levitate", f"Require: teleport, 100rel, levitate\n{NOTHING}"),
    ],
    ids=lambda values: f"{values['METHOD']}-{values['STATUS']}",
)
@directly
def test_requests_outside_of_calls(stage: Stage, values: dict[str, str]) -> None:
    async def script(act: Act) -> None:
        pass

    stage.play("uac_alone", script, values=values)


@directly
def test_two_headers_where_one_may_be(stage: Stage) -> None:
    async def script(act: Act) -> None:
        pass

    twice = alone("OPTIONS", 400, "CSeq: OPTIONS", f"Max-Forwards: 5\n{NOTHING}")
    stage.play("uac_alone", script, values=twice, violations=1)


@ways(UDP, TCP, Way("udp", "tcp"), Way("tcp", "tls"))
def test_message(stage: Stage) -> None:
    async def script(act: Act) -> None:
        message = await act.event(o.MessageReceived)
        assert (message.content_type, message.body) == ("text/plain", b"hello\r\n")

    stage.play("uac_alone", script, values=alone("MESSAGE", 200, "CSeq: MESSAGE", TEXT))


@directly
def test_dialogs_that_we_do_not_know(stage: Stage) -> None:
    async def script(act: Act) -> None:
        pass

    stage.play("uac_stray", script)


@directly
def test_requests_in_a_call_that_cannot_be_served(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        await act.sleep(0.5)
        await call.hang_up()

    stage.play("uac_rude", script)


@ways(UDP)
def test_losses(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)
        answers = [text for text in act.sipp.received() if "200 OK" in text and "INVITE\n" in text]
        assert len(answers) >= 2

    # Losses are by chance: so often that all are lost, within the time that SIPp waits, nobody says it.
    config = evolve(CONFIG, timers=TimerValues(t1=0.2, t2=0.4))
    stage.play("uac_lost", script, config=config, options=("-T2", "500", "-max_retrans", "40"))


@ways(UDP)  # with TCP SIPp takes a repeated 200 for a fault
def test_nobody_confirms(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        with pytest.raises(CommandError, match="did not confirm"):
            await call.answer(body=ANSWER)
        await act.ended(call, Cause.NO_ACK, REMOTE)

    stage.play("uac_no_ack", script, config=evolve(CONFIG, timers=TimerValues(t1=0.02)))


@directly
def test_large_invite(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        assert call.incoming is not None
        assert sum(name == "X-Long" for name, _ in call.incoming.headers) == 20
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    long = "\n".join(f"X-Long: {'x' * 1200}{number}" for number in range(20))
    stage.play("uac_large", script, values={"EXTRA": long})


@directly
def test_odd_spelling(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        assert call.incoming is not None and call.incoming.display_name == 'Odd, "Peer"'
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_compact", script)


@ways(TCP)
def test_sipp_closes_its_connection(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await call.answer(body=ANSWER)
        waiting = await act.event(o.CallReconnecting)
        assert waiting.call == call.ident
        end = await act.ended(call, Cause.CONNECTION_ERROR, REMOTE)
        assert "could not be taken up again" in end.detail

    stage.play("uac_closes", script, config=evolve(CONFIG, recovery=evolve(CONFIG.recovery, grace=0.3)))


@pytest.mark.parametrize("loop", ["anyio-trio", "trio"])
@ways(UDP, TCP)
def test_on_trio(stage: Stage, loop: str) -> None:
    async def script(act: Act) -> None:
        call = await act.incoming()
        await act.endpoint.run(lambda n: i.Progress(command=n, call=call.ident, status=183, body=ANSWER))
        await act.event(o.InfoReceived)
        await call.answer(body=ANSWER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uac_prack", script, loop=loop, values=again(stage))
