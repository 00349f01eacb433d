"""We call SIPp: what the caller does with answers that are late, early, doubled, lost or unwelcome."""

from __future__ import annotations

import pytest
from attrs import evolve

from sipproto.agent import Cause, SessionTimers, Waits
from sipproto.agent import inputs as i
from sipproto.agent import outputs as o
from sipproto.auth import Secret
from sipproto.sdp import Direction
from sipproto_client import Call, CommandError
from tests.client.rig import ANSWER, OFFER, raw_server

from .kamailio import Kamailio
from .sipp_stage import CONFIG, DIRECT, OUR_USER, PROXIED, TCP, UDP, Act, Relay, Stage, Way, ways

pytestmark = pytest.mark.interop
LOCAL, REMOTE = o.Originator.LOCAL, o.Originator.REMOTE
AUDIO = (("audio", Direction.SENDRECV),)
MEDIA = "@media sendrecv active 1@"
everywhere = ways(*DIRECT, *PROXIED)
directly = ways(*DIRECT)


async def begin(act: Act, **invite: object) -> Call:
    """Starts a call that is not waited for; the script looks at events instead."""
    call = act.endpoint.new_call()
    settings = {"body": OFFER, **invite}
    act.endpoint.step(i.Invite(command=0, call=call.ident, target=act.target, **settings))  # type: ignore[arg-type]
    return call


@everywhere
def test_sipp_hangs_up(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uas_call", script)


@everywhere
def test_we_hang_up(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        established = await act.event(o.CallEstablished)
        assert b"m=audio 6000 RTP/AVP 0" in established.body
        await call.hang_up()

    stage.play("uas_hung_up", script)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (486, Cause.BUSY),
        (600, Cause.BUSY),
        (603, Cause.REJECTED),
        (404, Cause.NOT_FOUND),
        (480, Cause.UNAVAILABLE),
        (488, Cause.INCOMPATIBLE_MEDIA),
        (503, Cause.SIP_FAILURE_CODE),
    ],
)
@ways(UDP, TCP)
def test_refused(stage: Stage, status: int, cause: Cause) -> None:
    async def script(act: Act) -> None:
        with pytest.raises(CommandError) as refused:
            await act.endpoint.call(act.target, body=OFFER)
        assert (refused.value.cause, refused.value.status) == (cause, status)

    stage.play("uas_refused", script, values={"STATUS": str(status)})


@ways(Way("udp", "tls"), Way("tcp", "udp"))
def test_busy_through_kamailio(stage: Stage) -> None:
    async def script(act: Act) -> None:
        with pytest.raises(CommandError) as refused:
            await act.endpoint.call(act.target, body=OFFER)
        assert (refused.value.cause, refused.value.status) == (Cause.BUSY, 486)

    stage.play("uas_refused", script, values={"STATUS": "486"})


@ways(UDP, TCP, Way("udp", "tcp"))
def test_nobody_answers(stage: Stage) -> None:
    async def script(act: Act) -> None:
        with pytest.raises(CommandError) as failed:
            await act.endpoint.call(act.target, body=OFFER)
        assert failed.value.cause is Cause.NO_ANSWER

    stage.play("uas_no_answer", script, config=evolve(CONFIG, waits=Waits(ring=0.3)))


@ways(UDP, TCP, Way("tcp", "tls"))
def test_we_give_up(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await begin(act)
        await act.event(o.CallProgressed)
        await call.hang_up()
        await act.ended(call, Cause.CANCELED, LOCAL)

    stage.play("uas_no_answer", script)


@ways(UDP, TCP, Way("udp", "udp"))
def test_cancel_crosses_the_answer(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await begin(act)
        await act.event(o.CallProgressed)
        await call.hang_up()
        await act.ended(call, Cause.CANCELED, LOCAL)

    stage.play("uas_cancel_crossing", script)


@directly
def test_cancel_waits_for_a_provisional(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await begin(act)
        await call.hang_up()
        await act.sleep(0.7)
        assert "CANCEL " not in act.sipp.messages()

    stage.play("uas_cancel_early", script)


@ways(UDP, TCP, Way("udp", "tcp"), Way("tcp", "tls"))
def test_reliable_provisional_answers(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await begin(act)
        seen = [await act.event(o.CallProgressed) for _ in range(3)]
        assert [(p.status, bool(p.body)) for p in seen] == [(183, True), (180, False), (181, False)]
        await act.event(o.CallEstablished)
        await call.hang_up()
        pracks = [text for text in act.sipp.received() if text.startswith("PRACK")]
        assert len(pracks) == 3

    stage.play("uas_prack", script)


@ways(UDP, TCP, Way("udp", "tcp"))
@pytest.mark.parametrize("media", [False, True], ids=["body", "media"])
def test_early_media(stage: Stage, media: bool) -> None:
    async def script(act: Act) -> None:
        call = await (begin(act, media=AUDIO, body=b"") if media else begin(act))
        early = await act.event(o.CallProgressed)
        assert early.status == 183
        assert (early.early_media, bool(early.body)) == (media, not media)
        await act.event(o.CallEstablished)
        await call.hang_up()

    stage.play("uas_early", script, media=media, values={"BODY": MEDIA if media else "@sdp@"})


@ways(UDP, TCP, Way("udp", "tcp"))
@pytest.mark.parametrize("media", [False, True], ids=["body", "media"])
def test_the_offer_is_left_to_sipp(stage: Stage, media: bool) -> None:
    async def script(act: Act) -> None:
        if media:
            call = await begin(act, media=AUDIO, body=b"", late_offer=True)
        else:
            call = await begin(act, body=b"", late_offer=True)
            offered = await act.event(o.CallOffered)
            assert b"m=audio 6000" in offered.body
            await call.answer(body=ANSWER)
        await act.event(o.CallEstablished)
        await call.hang_up()

    body = "@media sendrecv actpass 1@" if media else "@sdp@"
    stage.play("uas_late_offer", script, media=media, values={"BODY": body})


@ways(UDP, TCP, Way("tcp", "tls"), Way("udp", "udp"))
def test_we_hold_and_resume(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, AUDIO)
        await call.hold()
        assert call.held_by == {LOCAL}
        await call.resume()
        assert call.held_by == set()
        await call.hang_up()

    stage.play("uas_hold", script, media=True, values={"BODY": MEDIA})


@ways(UDP, TCP, Way("udp", "tcp"))
def test_sipp_is_not_ready_for_a_change(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, AUDIO)
        await call.hold()
        assert call.held_by == {LOCAL}
        with pytest.raises(CommandError) as refused:
            await call.resume()
        assert refused.value.status == 488
        assert call.held_by == {LOCAL}
        await call.hang_up()

    stage.play("uas_retry", script, media=True, values={"BODY": MEDIA})


@ways(UDP, TCP, Way("udp", "tcp"))
def test_longer_sessions(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await call.hang_up()

    stage.play("uas_timer", script)


SHORT = evolve(CONFIG, session_timers=SessionTimers(expires=90))


@ways(TCP)  # with UDP our hurry would repeat everything before SIPp can answer
def test_we_refresh_a_session(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await act.sleep(2.7)  # two half times of 90 s
        assert call.ended is None
        await call.hang_up()

    stage.play("uas_refresh", script, hurry=40.0, config=SHORT)


@ways(TCP)
def test_we_refresh_a_session_without_update(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await act.sleep(1.5)
        assert call.ended is None
        await call.hang_up()

    stage.play("uas_refresh_invite", script, hurry=40.0, config=SHORT)


@ways(TCP)
def test_a_session_expires(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await act.ended(call, Cause.EXPIRED, REMOTE)

    stage.play("uas_expires", script, hurry=40.0, config=SHORT)


@ways(UDP, TCP, Way("udp", "tcp"))
def test_redirected_and_not_followed(stage: Stage) -> None:
    async def script(act: Act) -> None:
        with pytest.raises(CommandError) as redirected:
            await act.endpoint.call(act.target, body=OFFER)
        assert (redirected.value.cause, redirected.value.status) == (Cause.REDIRECTED, 302)

    stage.play("uas_redirected", script)


@directly
def test_redirected_and_followed(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await begin(act, choose_redirect=True)
        choice = await act.event(o.CallRedirected)
        assert choice.status == 302 and ";line=2" in choice.contacts[0] and "nobody@" in choice.contacts[1]
        await act.endpoint.run(lambda n: i.Redirect(command=n, call=call.ident, target=choice.contacts[0]))
        await act.event(o.CallEstablished)
        await call.hang_up()

    stage.play("uas_redirect", script)


@ways(UDP, TCP, Way("udp", "tcp"))
def test_forks(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await begin(act)
        rung = [await act.event(o.CallProgressed) for _ in range(3)]
        assert [(p.status, p.dialog) for p in rung] == [(180, "one"), (180, "two"), (183, "three")]
        await act.event(o.CallEstablished)
        await act.sleep(0.2)
        assert call.ended is None
        assert await call.send_info("text/plain", b"still there") == 200
        await call.hang_up()

    stage.play("uas_forks", script)


@directly
def test_large_invite(stage: Stage) -> None:
    async def script(act: Act) -> None:
        long = tuple(("X-Long", f"{'x' * 1200}{number}") for number in range(20))
        call = await act.endpoint.call(act.target, body=OFFER, headers=long)
        assert act.sipp.received()[0].count("X-Long: xxx") == 20
        await act.ended(call, Cause.TERMINATED, REMOTE)

    stage.play("uas_call", script)


@ways(UDP)
def test_losses(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await act.ended(call, Cause.TERMINATED, REMOTE)

    timers = evolve(CONFIG.timers, t1=0.2)
    # Losses are by chance: SIPp gives up after five repetitions unless told otherwise, by its kind of transaction, too.
    limits = ("-max_retrans", "40", "-max_invite_retrans", "40", "-max_non_invite_retrans", "40")
    stage.play("uas_lost", script, config=evolve(CONFIG, timers=timers), options=("-T2", "400", *limits))


@pytest.mark.parametrize("status", [200, 486])
@ways(UDP, TCP, Way("udp", "tcp"), Way("tcp", "tls"))
def test_we_transfer_sipp(stage: Stage, status: int) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)

        async def refer() -> object:
            return await act.endpoint.run(lambda n: i.Refer(command=n, call=call.ident, target="sip:carol@rig.test"))

        if status == 200:
            assert await refer() == 200
        else:
            with pytest.raises(CommandError) as failed:
                await refer()
            assert (failed.value.cause, failed.value.status) == (Cause.BUSY, 486)
        told = [await act.event(o.TransferProgressed) for _ in range(3)]
        assert [t.status for t in told] == [100, 180, status]
        assert call.ended is None
        await call.hang_up()

    stage.play("uas_refer", script, values={"STATUS": str(status)})


@pytest.mark.parametrize("status", [603, 405])
@directly
def test_sipp_does_not_transfer(stage: Stage, status: int) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        with pytest.raises(CommandError) as refused:
            await act.endpoint.run(lambda n: i.Refer(command=n, call=call.ident, target="sip:carol@rig.test"))
        assert refused.value.status == status
        await call.hang_up()

    stage.play("uas_refer_refused", script, values={"STATUS": str(status)})


@ways(UDP, TCP, Way("udp", "tcp"))
def test_digits_both_ways(stage: Stage) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await call.send_dtmf("12")
        with pytest.raises(CommandError) as refused:
            await call.send_info("text/plain", b"?")
        assert refused.value.status == 415
        digit = await act.event(o.DtmfReceived)
        assert (digit.digit, digit.duration) == ("*", 250)
        await call.hang_up()

    stage.play("uas_info", script)


@pytest.mark.parametrize("status", [200, 202, 404])
@everywhere
def test_message(stage: Stage, status: int) -> None:
    async def script(act: Act) -> None:
        if status < 300:
            assert await act.endpoint.send_message(act.target, "grüß dich") == status
        else:
            with pytest.raises(CommandError) as refused:
                await act.endpoint.send_message(act.target, "grüß dich")
            assert (refused.value.cause, refused.value.status) == (Cause.NOT_FOUND, status)

    values = {"METHOD": "MESSAGE", "STATUS": str(status), "SAYS": "Content-Type: text/plain"}
    stage.play("uas_alone", script, values=values)


@pytest.mark.parametrize("status", [200, 486, 500])
@ways(UDP, TCP, Way("udp", "tcp"))
def test_options(stage: Stage, status: int) -> None:
    async def script(act: Act) -> None:
        assert await act.endpoint.options(act.target) == status

    stage.play(
        "uas_alone", script, values={"METHOD": "OPTIONS", "STATUS": str(status), "SAYS": "Accept: application/sdp"}
    )


@directly
@pytest.mark.parametrize("scenario", ["uas_auth", "uas_proxy_auth"])
def test_sipp_wants_a_password(stage: Stage, scenario: str) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, body=OFFER)
        await call.hang_up()

    config = evolve(CONFIG, secrets=(Secret(username=OUR_USER, password="open sesame", realm="sipp"),))
    stage.play(scenario, script, config=config, values={"SECRET": "open sesame"})


@ways(Way("udp", "tcp"), Way("tcp", "udp"))
def test_the_connection_is_cut(stage: Stage, kamailio: Kamailio) -> None:
    async def script(act: Act) -> None:
        relay = Relay(act.runtime, kamailio.tcp_port)
        await act.endpoint.run(lambda n: i.Disconnect(command=n))
        async with raw_server(act.runtime, relay.serve) as port:
            await act.endpoint.connect(f"tcp://127.0.0.1:{port}")
            await act.endpoint.register()
            call = await act.endpoint.call(act.target, body=OFFER)
            await act.sleep(0.1)  # the ACK is through
            relay.cut()
            assert (await act.event(o.CallReconnecting)).call == call.ident
            assert (await act.event(o.CallRecovered)).gap < 5
            await act.ended(call, Cause.TERMINATED, REMOTE)
            await act.endpoint.unregister()
            await act.endpoint.run(lambda n: i.Disconnect(command=n))

    stage.play("uas_cut", script)


@pytest.mark.parametrize("loop", ["anyio-trio", "trio"])
@ways(UDP, TCP)
def test_on_trio(stage: Stage, loop: str) -> None:
    async def script(act: Act) -> None:
        call = await act.endpoint.call(act.target, AUDIO)
        await call.hold()
        await call.resume()
        await call.hang_up()

    stage.play("uas_hold", script, loop=loop, media=True, values={"BODY": MEDIA})
