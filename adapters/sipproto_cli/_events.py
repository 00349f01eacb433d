"""Events and figures as JSON, for `sipproto agent` and `--json`; docs/agent.md lists them."""

from __future__ import annotations

from typing import Any

from sipproto.agent import outputs as o
from sipproto.agent.media import LineStats, MediaReport

Fields = dict[str, Any]


def line_fields(line: LineStats) -> Fields:
    """A line of statistics as JSON; what is not known is left out."""
    out: Fields = {
        "sent": {"packets": line.packets_sent, "bytes": line.bytes_sent},
        "received": {"packets": line.packets_received, "bytes": line.bytes_received},
        "direction": line.direction,
        "codec": line.codec,
        "lost": line.packets_lost,
        "jitter": line.jitter,
        "round_trip_time": line.round_trip_time,
        "level": line.audio_level,
        "frequency": line.audio_frequency,
        "frames_decoded": line.frames_decoded,
        "width": line.frame_width,
        "height": line.frame_height,
        "color": None if line.color is None else list(line.color),
    }
    return {name: value for name, value in out.items() if value is not None}


def stats_fields(report: MediaReport) -> Fields:
    out: Fields = {line.kind: line_fields(line) for line in reversed(report.lines)}
    out["state"] = report.state.value
    return out


def event_fields(event: o.Event) -> Fields | None:
    """An event as JSON; None for those that only concern the library itself."""
    match event:
        case o.IncomingCall():
            return {
                "event": "call",
                "call": event.call,
                "state": "incoming",
                "originator": "remote",
                "from": event.from_uri,
                "display_name": event.display_name,
                "to": event.to_uri,
                "audio": event.audio,
                "video": event.video,
            }
        case o.MediaChanged():
            return {"event": "media", "call": event.call, "state": event.state.value}
        case o.InfoReceived():
            return {
                "event": "info",
                "call": event.call,
                "content_type": event.content_type,
                "body": event.body.decode("utf-8", "replace"),
            }
        case o.DtmfReceived():
            transport = event.way.value.upper()
            return {
                "event": "dtmf",
                "call": event.call,
                "digit": event.digit,
                "duration": event.duration,
                "transport": transport,
            }
        case o.MessageReceived():
            return {
                "event": "message",
                "from": event.from_uri,
                "content_type": event.content_type,
                "body": event.body.decode("utf-8", "replace"),
            }
        case o.RegistrationChanged():
            return _registration(event)
        case o.ConnectionChanged():
            return {"event": event.state.value, "detail": event.error}
        case o.ProtocolViolated():
            return {"event": "violation", "fault": event.fault.code, "detail": event.detail}
        case _:
            return _call_fields(event) or _transfer_fields(event) or _subscription_fields(event)


def _call_fields(event: o.Event) -> Fields | None:
    """What became of a call."""
    match event:
        case o.CallStarted():
            return _call(event.call, "calling", originator="local", target=event.target)
        case o.CallProgressed():
            return _call(event.call, "ringing", originator="remote", status=event.status)
        case o.CallEstablished():
            return _call(event.call, "established", originator=event.originator.value)
        case o.CallHeld():
            return _call(event.call, "held", originator=event.originator.value)
        case o.CallResumed():
            return _call(event.call, "resumed", originator=event.originator.value)
        case o.CallEnded():
            more: Fields = {} if event.status is None else {"status": event.status}
            if event.reasons:
                more["reasons"] = [{"protocol": r.protocol, "cause": r.cause, "text": r.text} for r in event.reasons]
            return _call(
                event.call,
                "ended",
                originator=event.originator.value,
                cause=event.cause.value,
                detail=event.detail,
                **more,
            )
        case o.CallReconnecting():
            return _call(event.call, "reconnecting", reason=event.reason, waits=event.waits)
        case o.CallRecovered():
            return _call(event.call, "recovered", gap=event.gap)
        case _:
            return None


def _call(call: str, state: str, **more: object) -> Fields:
    return {"event": "call", "call": call, "state": state, **more}


def _registration(event: o.RegistrationChanged) -> Fields:
    if event.state is o.RegistrationState.REGISTERED:
        return {"event": "registered"}
    name = "unregistered" if event.state is o.RegistrationState.UNREGISTERED else "registration_failed"
    code = None if event.cause is None else event.cause.value
    return {"event": name, "code": code, "status": event.status, "retry_in": event.retry_in}


def _transfer_fields(event: o.Event) -> Fields | None:
    match event:
        case o.TransferProgressed():
            told: Fields = {"status": event.status, "reason": event.reason}
            return {"event": "transfer", "call": event.call, "state": "progress", **told}
        case o.TransferRequested():
            asked = {"transfer": event.transfer, "target": event.target, "referred_by": event.referred_by}
            return {"event": "transfer", "call": event.call, "state": "requested", **asked}
        case _:
            return None


def _subscription_fields(event: o.Event) -> Fields | None:
    """Subscriptions of ours, those of peers to us, and publications."""
    match event:
        case o.SubscriptionChanged():
            fields = _changed(event, retry_after=event.retry_after, reason=event.reason or None)
            return {"event": "subscription", "subscription": event.subscription, **fields}
        case o.PublicationChanged():
            return {"event": "publication", "publication": event.publication, **_changed(event)}
        case o.NotifyReceived():
            return {"event": "notify", "subscription": event.subscription, **_said(event)}
        case o.NotificationReceived():
            return {"event": "notify", "from": event.from_uri, **_said(event)}
        case o.SubscribeReceived():
            asked = {"from": event.from_uri, "expires": event.expires, **_said(event)}
            return {"event": "watcher", "subscription": event.subscription, "state": "requested", **asked}
        case o.SubscriptionRefreshed():
            return {
                "event": "watcher",
                "subscription": event.subscription,
                "state": "refreshed",
                "expires": event.expires,
            }
        case o.SubscriptionEnded():
            ended = {"cause": event.cause.value, "reason": event.reason, "detail": event.detail}
            return {"event": "watcher", "subscription": event.subscription, "state": "ended", **ended}
        case _:
            return None


def _changed(event: o.SubscriptionChanged | o.PublicationChanged, **more: object) -> Fields:
    """The state; what is not known is left out."""
    known = {
        "expires": event.expires,
        "cause": None if event.cause is None else event.cause.value,
        "detail": event.detail or None,
        "status": event.status,
        "retry_in": event.retry_in,
        **more,
    }
    return {"state": event.state.value} | {name: value for name, value in known.items() if value is not None}


def _said(event: o.NotifyReceived | o.NotificationReceived | o.SubscribeReceived) -> Fields:
    body = event.body.decode("utf-8", "replace")
    return {"package": event.event, "content_type": event.content_type, "body": body}
