"""The helpers of applications, errors among them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import pytest

from sipproto.agent import outputs as o
from sipproto.agent.outputs import Cause
from sipproto.conference import MainCam, MainCamControl
from sipproto.connector import ConnectionParameters
from sipproto.connector import inputs as c
from sipproto.connector.config import BusyPolicy
from sipproto.connector.events import MessageFromServer
from sipproto.connector.sending import encodings_of, sender_parameters
from sipproto.errors import LocalProtocolError
from sipproto.media.resolution import Resolution
from sipproto_client import CommandError, ConnectorError, ErrorCode, tools
from sipproto_client._connector_log import log_step
from sipproto_client._connector_values import ConnectionSettings, header_lines
from sipproto_client.connector_errors import code_of, connector_error
from sipproto_client.port import Runtime
from tests.client.conference import joined
from tests.client.rig import play


def failed(cause: Cause, status: int | None = None, *, signing_in: bool = False) -> ConnectorError:
    error = CommandError(o.CommandFailed(command=1, cause=cause, detail="why", status=status))
    return connector_error(error, signing_in=signing_in, url="sip:x@y")


def test_every_cause_has_a_code() -> None:
    assert {code_of(cause) for cause in Cause} | {ErrorCode.CLOSED} == set(ErrorCode)
    assert failed(Cause.REJECTED, 403, signing_in=True).code == "WRONG_USER_OR_PASSWORD"
    assert failed(Cause.REJECTED, 403).code == failed(Cause.REJECTED, 603, signing_in=True).code == "REFUSED"
    assert repr(failed(Cause.BUSY, 486)) == "ConnectorError(BUSY, 'why', status=486)"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failed(Cause.AUTHENTICATION_ERROR, 401), "WRONG_USER_OR_PASSWORD"),
        (failed(Cause.INCOMPATIBLE_MEDIA, 488), "BAD_MEDIA_ERROR"),
        (failed(Cause.NOT_FOUND, 404), "NOT_FOUND_ERROR"),
        (failed(Cause.CONNECTION_ERROR), "WS_CONNECTION_FAILED"),
        (failed(Cause.SIP_FAILURE_CODE, 500), "CONNECT_SERVER_FAILED_BY_LINK"),
        (ConnectorError(ErrorCode.FAILED, "why"), "CONNECT_SERVER_FAILED"),
        (ValueError("secret"), "CONNECT_SERVER_FAILED"),
    ],
)
def test_the_kind_of_an_error(error: Exception, kind: str) -> None:
    assert tools.get_type_from_error(error) == kind
    values = tools.get_values_from_error(error)
    assert "secret" not in repr(values)
    if isinstance(error, ConnectorError):
        assert (values.message, values.link) == ("why", tools.get_link_error(error))


def test_what_was_given_up() -> None:
    canceled = [cause for cause in Cause if tools.has_canceled_call_error(failed(cause))]
    assert Cause.CANCELED in canceled and Cause.REJECTED in canceled and Cause.BUSY not in canceled
    assert tools.has_canceled_start_presentation_error(failed(Cause.CANCELED))
    assert not tools.has_canceled_start_presentation_error(failed(Cause.REJECTED))


def test_digits_one_after_the_other() -> None:
    sent: list[str] = []

    async def send(key: str) -> int:
        sent.append(key)
        if key == "#":
            raise ConnectorError(ErrorCode.TIMEOUT, "no answer")
        return len(sent)

    async def run(keys: str, can_run_task: Callable[[], bool] = lambda: True) -> tools.DtmfResult:
        return await tools.send_dtmf_accumulated(accumulated_keys=keys, send_key=send, can_run_task=can_run_task)

    result = anyio.run(run, "1#2")
    assert sent == ["1", "#", "2"] and result.success == (1, 3) and len(result.errors) == 1
    assert result.is_error and not result.is_successful
    assert anyio.run(run, "12").is_successful and not anyio.run(run, "").is_successful
    assert len(anyio.run(run, "12", lambda: False).errors) == 2


def test_camera_and_microphone_are_told_apart() -> None:
    async def scenario(runtime: Runtime) -> None:
        async with joined(runtime) as (room, alice):
            log: list[str] = []
            sync = tools.create_sync_media_state(sip_connector=alice)
            sync.start(on_stop_mic_forced=lambda: log.append("old"))
            sync.start(
                on_start_mic_forced=lambda: log.append("mic on"),
                on_stop_main_cam_not_forced=lambda: log.append("cam off?"),
            )
            with alice.events("api:admin-stop-main-cam") as last:
                for command in (("stop-mic", "p1", "forced"), ("start-mic", "p1"), ("start-mic", "p1", "forced")):
                    room.operate(*command)
                room.operate("stop-camera", "p1")
                await anext(last)
            assert log == ["mic on", "cam off?"]
            with pytest.raises(TypeError):
                sync.start(on_start_spoon_forced=lambda: None)
            sync.stop()
            assert alice._emitter.handlers == 0
            assert tools.has_available_stats(alice) and tools.get_codec_from_sender(alice.require_call()) == "video/VP8"
            assert tools.get_codec_from_sender(alice.require_call(), "video", 1) == ""

    play("anyio-asyncio", scenario)


def test_the_log_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    parameters = ConnectionParameters(
        sip_server_url="x", sip_web_socket_server_url="ws://x/", user="u", password="pass-Word"
    )
    with caplog.at_level(logging.DEBUG, "sipproto.connector"):
        log_step("in", c.ConnectToServer(command=1, parameters=parameters))
        log_step("out", o.DtmfReceived(call="c", digit="7", duration=None))
        log_step("out", MessageFromServer(call="c", message=MainCamControl(command=MainCam.PAUSE)))
        log_step("out", o.MessageReceived(from_uri="sip:a@b", display_name="", content_type="t", body=b"private"))
    events = [vars(record)["sipproto_event"] for record in caplog.records]
    assert [event["type"] for event in events] == [
        *("ConnectToServer", "DtmfReceived", "MessageFromServer", "MessageReceived")
    ]
    for secret in ("pass-Word", "private", "7"):
        assert secret not in f"{events} {[record.getMessage() for record in caplog.records]}"


def test_debugging_is_turned_on_and_off() -> None:
    logger = logging.getLogger("sipproto.connector")
    before = list(logger.handlers)
    tools.enable_debug()
    tools.enable_debug()
    assert len(logger.handlers) == len(before) + 1 and logger.isEnabledFor(logging.DEBUG)
    tools.disable_debug()
    assert logger.handlers == before and logger.level == logging.NOTSET


def test_keywords_of_connect_are_the_fields_of_its_value() -> None:
    fields = {field.name for field in ConnectionParameters.__attrs_attrs__}
    assert ConnectionSettings.__annotations__.keys() == fields
    assert BusyPolicy("ring") is BusyPolicy.RING


def test_what_cannot_be_sent_is_said() -> None:
    assert sender_parameters() is None
    track = Resolution(1920, 1080)
    (scaled,) = encodings_of([{"width": 1280, "height": 720, "scalability_mode": "L3T3_KEY"}], track)
    assert scaled.scale_resolution_down_by == 1.5 and scaled.scalability_mode == "L3T3_KEY"
    assert encodings_of([{"width": 1280, "height": 720}])[0].scale_resolution_down_by == 1.0
    for bad in ({"width": 1}, {"width": 0, "height": 0}, {"colour": 1}, {"max_bitrate": 0}):
        with pytest.raises(LocalProtocolError):
            encodings_of([bad])
    for more in ({"content_hint": "speech"}, {"degradation_preference": "none"}, {"max_bitrate": -1}):
        with pytest.raises(LocalProtocolError):
            sender_parameters(**more)
    assert header_lines(["X-A: 1:2", ("X-B", "3")]) == (("X-A", "1:2"), ("X-B", "3"))
    with pytest.raises(LocalProtocolError):
        header_lines(["no colon"])
