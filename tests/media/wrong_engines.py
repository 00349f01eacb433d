"""Media engines that break one rule of the port each, and what the conformance suite has to say of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import ClassVar

from attrs import evolve, frozen

from sipproto.agent.media import (
    DIGITS,
    ApplyMedia,
    AskKeyFrame,
    CloseMedia,
    CollectStats,
    DigitHeard,
    DigitSent,
    LineStats,
    MediaApplied,
    MediaFailed,
    MediaInput,
    MediaOpened,
    MediaOperation,
    MediaReport,
    MediaState,
    MediaStateChanged,
    OpenMedia,
    SendDigit,
    SenderParametersSet,
    SetSenderParameters,
    StatsCollected,
)
from sipproto.agent.stats import InboundRtpStats, Stats, TransportStats
from sipproto.negotiation import LocalTransport, MediaCapabilities, MediaLine
from sipproto.testing import FAKE_CAPABILITIES, FakeMediaEngine

Report = Callable[[MediaInput], None]


class WiredEngine(FakeMediaEngine):
    """A fake engine that counts packets and whose digits are heard by the others on its wire: right in every respect."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(seed=next(wire.seeds), capabilities=self.able)
        self.wire = wire
        self.packets: dict[tuple[str, str], int] = {}  # by call and mid
        wire.engines.append(self)

    able: ClassVar[MediaCapabilities] = FAKE_CAPABILITIES

    def perform(self, operation: MediaOperation, report: Report) -> None:
        known = next((call for call in self.calls if call.ident == operation.call), None)
        if isinstance(operation, CollectStats) and known is not None and known.state is MediaState.CONNECTED:
            known.report = MediaReport(
                state=known.state, lines=tuple(self.count(operation.call, line) for line in known.lines)
            )
        if isinstance(operation, SendDigit):
            super().perform(operation, lambda reply: self.press(operation, report, reply))
        else:
            super().perform(operation, report)

    def count(self, call: str, line: MediaLine) -> LineStats:
        """Each look at the figures is worth one packet more."""
        for way, goes in (("sent", self.sends(call, line)), ("received", line.direction.receives)):
            self.packets[call, way + line.mid] = self.packets.get((call, way + line.mid), 0) + goes
        sent, received = (self.packets[call, way + line.mid] for way in ("sent", "received"))
        return LineStats(
            mid=line.mid,
            kind=line.kind,
            direction=line.direction.value,
            codec=line.codec.name,
            packets_sent=sent,
            bytes_sent=50 * sent,
            packets_received=received,
            bytes_received=50 * received,
        )

    def sends(self, call: str, line: MediaLine) -> bool:
        parameters = self.call(call).parameters.get(line.index)
        return line.direction.sends and (parameters is None or parameters.encodings[0].active)

    def press(self, operation: SendDigit, report: Report, reply: MediaInput) -> None:
        if not isinstance(reply, DigitSent):
            report(reply)
            return

        def over() -> None:
            report(reply)
            self.tell_peers(operation)

        timer = threading.Timer(operation.duration / 1000, over)
        timer.daemon = True
        timer.start()

    def tell_peers(self, operation: SendDigit) -> None:
        session = self.call(operation.call).session
        assert session is not None
        theirs = {pair.remote.ice_ufrag for pair in session.transports}
        for engine in self.wire.engines:
            for call in engine.calls:
                if not call.is_closed and theirs & {transport.ice_ufrag for transport in call.transports.values()}:
                    engine.hear_digit(call.ident, DIGITS[operation.event], duration=operation.duration)


class Wire:
    """The engines of one check."""

    def __init__(self) -> None:
        self.seeds = itertools.count(1)
        self.engines: list[WiredEngine] = []


@frozen
class Fault:
    """An engine that breaks a rule, the check that has to find it, and what that has to say."""

    engine: type[WiredEngine]
    check: str
    says: str

    def __str__(self) -> str:
        return f"{self.check}-{self.engine.__name__}"


FAULTS: list[Fault] = []


def breaks(check: str, says: str) -> Callable[[type[WiredEngine]], type[WiredEngine]]:
    def note(engine: type[WiredEngine]) -> type[WiredEngine]:
        FAULTS.append(Fault(engine, check, says))
        return engine

    return note


class _Altered(WiredEngine):
    """Its replies are changed on their way."""

    def perform(self, operation: MediaOperation, report: Report) -> None:
        def altered(message: MediaInput) -> None:
            for each in self.alter(operation, message):
                report(each)

        super().perform(operation, altered)

    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        raise NotImplementedError


class _Opening(_Altered):
    """What it opens is changed."""

    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(message, MediaOpened) and isinstance(operation, OpenMedia):
            opened = tuple((slot, self.opened(operation, slot, transport)) for slot, transport in message.transports)
            yield evolve(message, transports=opened)
        else:
            yield message

    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        raise NotImplementedError


# -- capabilities ------------------------------------------------------------------------------------------------------

_AUDIO, _VIDEO = FAKE_CAPABILITIES.audio, FAKE_CAPABILITIES.video


@breaks("capabilities", r"payload types \[111\] stand for several codecs")
class TypeUsedTwice(WiredEngine):
    able = evolve(FAKE_CAPABILITIES, audio=(*_AUDIO, evolve(_AUDIO[1], payload_type=111)))


@breaks("capabilities", "rtx 97 repeats the payload type None")
class RtxOfNothing(WiredEngine):
    able = evolve(FAKE_CAPABILITIES, video=(_VIDEO[0], evolve(_VIDEO[1], parameters="")))


@breaks("capabilities", "payload type 72, which cannot be used")
class TypeOfRtcp(WiredEngine):
    able = evolve(FAKE_CAPABILITIES, audio=(evolve(_AUDIO[0], payload_type=72),))


@breaks("capabilities", "no codec carries audio or video")
class OnlyDigits(WiredEngine):
    able = MediaCapabilities(audio=_AUDIO[2:])


@breaks("capabilities", "is no token: 'VP8 video'")
class BadName(WiredEngine):
    able = evolve(FAKE_CAPABILITIES, video=(evolve(_VIDEO[0], name="VP8 video"),))


# -- operations and replies --------------------------------------------------------------------------------------------


@breaks("returns_at_once", "for OpenMedia")
class OpensWhileTheCallerWaits(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, OpenMedia):
            time.sleep(0.3)
        super().perform(operation, report)


@breaks("answers_once", "answered a second time: StatsCollected")
class AnswersTwice(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        return [message] * (2 if isinstance(message, StatsCollected) else 1)


@breaks("answers_once", "AskKeyFrame is not answered")
class ForgetsAReply(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        return [] if isinstance(operation, AskKeyFrame) else [message]


@breaks("answers_once", "came to the report of the request")
class MixesUpReports(WiredEngine):
    first: Report | None = None

    def perform(self, operation: MediaOperation, report: Report) -> None:
        self.first = self.first or report
        super().perform(operation, self.first)


@breaks("answers_once", "CollectStats is answered with MediaApplied")
class AnswersWithAnother(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield MediaApplied(request=message.request) if isinstance(message, StatsCollected) else message


class _Generous(_Altered):
    """Finds statistics of anything."""

    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(operation, CollectStats) and isinstance(message, MediaFailed):
            report = MediaReport(state=MediaState.CONNECTING)
            message = StatsCollected(request=message.request, report=report)
        yield message


@breaks("unknown_calls", "CollectStats should fail, as the call was never opened")
class MeasuresStrangers(_Generous):
    pass


@breaks("wrong_order", "ApplyMedia should fail, as no slot is open")
class AppliesToNothing(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(operation, ApplyMedia) and isinstance(message, MediaFailed):
            message = MediaApplied(request=message.request)
        yield message


@breaks("wrong_order", "OpenMedia should fail, as slot 17 is not open")
class RestartsWhatIsThere(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, OpenMedia) and operation.restart:
            known = next((call for call in self.calls if call.ident == operation.call), None)
            slots = tuple(slot for slot in operation.slots if known is not None and slot in known.transports)
            operation = evolve(operation, slots=slots or operation.slots)
        super().perform(operation, report)


@breaks("impossible_parameters", "event 16 of 100 ms is no digit")
class SendsAnything(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, SendDigit):
            operation = evolve(operation, event=max(0, operation.event) % 16 if operation.event >= 0 else -1)
        super().perform(operation, report)


@breaks("impossible_parameters", "contains an ICE password")
class TellsPasswords(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(operation, ApplyMedia) and isinstance(message, MediaFailed):
            secret = operation.session.transports[0].remote.ice_pwd
            message = evolve(message, error=f"cannot connect to {secret}")
        yield message


@breaks("impossible_parameters", "not one line fit for a user")
class TellsTracebacks(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield evolve(message, error="Traceback:\n  ...") if isinstance(message, MediaFailed) else message


@breaks("impossible_parameters", "the error of MediaFailed is empty")
class TellsNothing(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield evolve(message, error="") if isinstance(message, MediaFailed) else message


@breaks("impossible_parameters", r"perform raised KeyError\(17\) for SetSenderParameters")
class Raises(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, SetSenderParameters) and operation.line == 17:
            raise KeyError(operation.line)
        super().perform(operation, report)


@breaks("impossible_parameters", "the call should be CONNECTED")
class FallsApart(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield message
        if isinstance(operation, ApplyMedia) and isinstance(message, MediaFailed):
            yield MediaStateChanged(call=operation.call, state=MediaState.FAILED)


# -- transports --------------------------------------------------------------------------------------------------------


@breaks("opened_transports", "the password of slot 0")
class ShortPassword(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, ice_pwd="short")


@breaks("opened_transports", "different ICE credentials")
class OneUfragForAll(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, ice_pwd=f"{transport.ice_pwd}s{slot}")


@breaks("opened_transports", "is no sha-256: ")
class LowerCase(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, fingerprint=("sha-256", transport.fingerprint[1].lower()))


@breaks("opened_transports", "this is no candidate")
class WholeLines(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, candidates=tuple(f"a=candidate:{value}" for value in transport.candidates))


@breaks("opened_transports", r"of the slots \[0, 1, 2, 7\], \[0\] were opened")
class OneSlotOnly(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield evolve(message, transports=message.transports[:1]) if isinstance(message, MediaOpened) else message


@breaks("opened_transports", "different ICE credentials")
class CredentialsForEach(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, ice_ufrag=f"{transport.ice_ufrag}s{slot}")


@breaks("open_twice", "slots that were open are others")
class OpensAnew(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, ice_ufrag=f"{transport.ice_ufrag}n{len(self.operations)}")


@breaks("restart_credentials", "changes the certificate")
class NewCertificate(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, fingerprint=("sha-256", ":".join(["AB"] * 32))) if operation.restart else transport


@breaks("restart_credentials", "repeats a ufrag")
class RestartsNothing(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(message, MediaOpened):
            transports = self.call(operation.call).transports
            message = evolve(message, transports=tuple((slot, transports[slot]) for slot, _ in message.transports))
        yield message


# -- sessions ----------------------------------------------------------------------------------------------------------


@breaks("connects", r"states reported were \['connecting'\]")
class NeverConnects(WiredEngine):
    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.connects = False


@breaks("connects", "of a call without a session")
class ConnectsAtOnce(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield message
        if isinstance(message, MediaOpened):
            yield MediaStateChanged(call=operation.call, state=MediaState.CONNECTED)


@breaks("connects", "packets_sent stays at 0 on the line '1'")
class SendsNoVideo(WiredEngine):
    def sends(self, call: str, line: MediaLine) -> bool:
        return line.kind == "audio"


@breaks("connects", "statistics say another state")
class MeasuresAnotherState(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(message, StatsCollected):
            message = evolve(message, report=evolve(message.report, state=MediaState.CONNECTING))
        yield message


class _Keeping(WiredEngine):
    """Closes no transport that a session does not name."""

    def perform(self, operation: MediaOperation, report: Report) -> None:
        known = next((call for call in self.calls if call.ident == operation.call), None)
        before = dict(known.transports) if known is not None else {}
        super().perform(operation, report)
        if isinstance(operation, ApplyMedia) and known is not None:
            known.transports = before | known.transports


@breaks("without_bundle", "a transport that is not named any more stays open")
class KeepsTransports(_Keeping):
    pass


@breaks("rollback", "a transport of an offer that was rolled back stays open")
class KeepsWhatIsRolledBack(_Keeping):
    pass


@breaks("hold_and_resume", "although the peer holds the call")
class SendsOnHold(WiredEngine):
    def sends(self, call: str, line: MediaLine) -> bool:
        return True


@breaks("hold_and_resume", "the call should be CONNECTED")
class HoldIsSilence(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield message
        if isinstance(message, MediaApplied) and any(
            not line.direction.receives for line in self.call(operation.call).lines
        ):
            yield MediaStateChanged(call=operation.call, state=MediaState.DISCONNECTED)


@breaks("lines", "packets_sent stays at 0 on the line '2'")
class OneLineOfAKind(WiredEngine):
    def sends(self, call: str, line: MediaLine) -> bool:
        return super().sends(call, line) and line.index < 2


@breaks("lines", "statistics are of the lines")
class KeepsLines(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(message, StatsCollected):
            kept = self.__dict__.setdefault("kept", {}).setdefault(operation.call, {})
            kept |= {line.mid: line for line in message.report.lines}
            message = evolve(message, report=evolve(message.report, lines=tuple(kept.values())))
        yield message


@breaks("codecs", "agreed on PCMU, but opus is said to be in use")
class StaysWithItsCodec(WiredEngine):
    def count(self, call: str, line: MediaLine) -> LineStats:
        return evolve(super().count(call, line), codec="opus" if line.kind == "audio" else "VP8")


class _LosesPaths(_Altered):
    """After sessions in which it was asked for a restart before."""

    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield message
        restarts = [one for one in self.asked(OpenMedia, operation.call) if one.restart]
        if isinstance(message, MediaApplied) and restarts:
            yield MediaStateChanged(call=operation.call, state=MediaState.DISCONNECTED)


@breaks("ice_restart", "the call should be CONNECTED")
class RestartsAreLosses(_LosesPaths):
    pass


@breaks("ignored_restart", "the call should be CONNECTED")
class IgnoredRestartsAreLosses(_LosesPaths):
    pass


@breaks("fork", "ApplyMedia is not answered")
class WaitsForForks(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, ApplyMedia) and self.call(operation.call).session is not None:
            self.silent(ApplyMedia)
        super().perform(operation, report)


# -- figures, parameters, key frames, digits ---------------------------------------------------------------------------


@breaks("statistics", "packets_received falls from")
class CountersFall(WiredEngine):
    def count(self, call: str, line: MediaLine) -> LineStats:
        figures = super().count(call, line)
        left = figures.packets_received if figures.packets_received < 4 else 0
        return evolve(figures, packets_received=left, bytes_received=50 * left)


@breaks("statistics", "audio_level should be 0 to 1, but is -20")
class LevelInDecibels(WiredEngine):
    def count(self, call: str, line: MediaLine) -> LineStats:
        return evolve(super().count(call, line), audio_level=-20.0)


@breaks("statistics", "without the RTP headers")
class CountsPayloads(WiredEngine):
    def count(self, call: str, line: MediaLine) -> LineStats:
        figures = super().count(call, line)
        return evolve(figures, bytes_sent=5 * figures.packets_sent)


class _Naming(_Altered):
    """Names what it measures as W3C does."""

    stats: ClassVar[tuple[Stats, ...]] = ()

    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(message, StatsCollected):
            message = evolve(message, report=evolve(message.report, stats=self.stats))
        yield message


@breaks("statistics", r"the ids \['T1'\] of statistics stand for several values")
class NamesTwoThingsAlike(_Naming):
    stats = (TransportStats(id="T1", timestamp=1.0), TransportStats(id="T1", timestamp=1.0))


@breaks("statistics", "local_certificate_id of 'T1' names 'C1', which is not in the report")
class NamesNothing(_Naming):
    stats = (TransportStats(id="T1", timestamp=1.0, local_certificate_id="C1"),)


@breaks("statistics", "'I1' is of the line '9', which was not agreed on")
class MeasuresUnknownLines(_Naming):
    stats = (InboundRtpStats(id="I1", timestamp=1.0, ssrc=1, kind="audio", mid="9"),)


@breaks("sender_parameters", "is not what was asked for, and nothing is ignored")
class IgnoresQuietly(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        if isinstance(message, SenderParametersSet):
            message = evolve(message, effective=evolve(message.effective, encodings=message.effective.encodings[:1]))
        yield message


@breaks("sender_parameters", "although its encoding is not active")
class NeverRests(WiredEngine):
    def sends(self, call: str, line: MediaLine) -> bool:
        return line.direction.sends


class _Unable(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, AskKeyFrame | SendDigit | SetSenderParameters):
            report(MediaFailed(request=operation.request, error="this engine cannot do that"))
        else:
            super().perform(operation, report)


@breaks("sender_parameters", "SetSenderParameters fails")
class CannotSetParameters(_Unable):
    pass


@breaks("key_frames", "AskKeyFrame fails")
class CannotAskForPictures(_Unable):
    pass


@breaks("digits", "SendDigit fails")
class CannotSendDigits(_Unable):
    pass


@breaks("digits", "does not hear the digit of event 1")
class SendsDigitsNowhere(WiredEngine):
    def tell_peers(self, operation: SendDigit) -> None:
        pass


@breaks("digits", "other digits are heard than sent")
class HeardTwice(WiredEngine):
    def tell_peers(self, operation: SendDigit) -> None:
        super().tell_peers(operation)
        super().tell_peers(operation)


@breaks("digits", "100 ms are heard as 800 ms")
class DurationInUnits(WiredEngine):
    def tell_peers(self, operation: SendDigit) -> None:
        super().tell_peers(evolve(operation, duration=8 * operation.duration))


@breaks("digits", "a digit of 100 ms is said to be sent after")
class SaysSentTooEarly(WiredEngine):
    def press(self, operation: SendDigit, report: Report, reply: MediaInput) -> None:
        report(reply)
        if isinstance(reply, DigitSent):
            self.tell_peers(operation)


@breaks("digits", "is heard on line 1")
class HearsOnAnotherLine(_Altered):
    def alter(self, operation: MediaOperation, message: MediaInput) -> Iterable[MediaInput]:
        yield evolve(message, line=1) if isinstance(message, DigitHeard) else message


# -- many calls, and the end -------------------------------------------------------------------------------------------


@breaks("many_calls", "calls share their ICE credentials")
class OneTransportForAll(_Opening):
    def opened(self, operation: OpenMedia, slot: int, transport: LocalTransport) -> LocalTransport:
        return evolve(transport, ice_ufrag=f"same{slot}")


@breaks("closed_calls", "CollectStats should fail, as the call was closed")
class MeasuresTheDead(_Generous):
    pass


@breaks("closed_calls", "perform raised LookupError")
class ClosesOnce(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, CloseMedia) and self.call(operation.call).is_closed:
            raise LookupError(operation.call)
        super().perform(operation, report)


@breaks("closed_calls_are_silent", "a notice comes for a call after its end")
class SaysGoodbye(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        if isinstance(operation, CloseMedia):
            self.change_state(operation.call, MediaState.DISCONNECTED)
        super().perform(operation, report)


@breaks("closed_calls_are_silent", "the call should be CONNECTED")
class EndsAllCalls(WiredEngine):
    def perform(self, operation: MediaOperation, report: Report) -> None:
        super().perform(operation, report)
        if isinstance(operation, CloseMedia):
            for call in self.calls:
                if not call.is_closed:
                    self.change_state(call.ident, MediaState.FAILED)


@breaks("closed_engine", "ApplyMedia should fail, as the engine was closed")
class NeverCloses(WiredEngine):
    def close(self) -> None:
        pass


@breaks("closed_engine", "perform raised RuntimeError")
class RaisesWhenClosed(WiredEngine):
    is_over = False

    def close(self) -> None:
        super().close()
        self.is_over = True

    def perform(self, operation: MediaOperation, report: Report) -> None:
        if self.is_over:
            raise RuntimeError("the loop is closed")
        super().perform(operation, report)


@breaks("closed_engine", r"close\(\) raised AssertionError")
class ClosesOnlyOnce(WiredEngine):
    is_over = False

    def close(self) -> None:
        assert not self.is_over
        self.is_over = True
        super().close()
