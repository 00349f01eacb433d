"""The members of aiortc and aioice that this package uses although they are not exported, checked at import.

They are used because aiortc offers no other way; a release that renames one would otherwise fail in the middle of a
call, or silently. Run as a check it costs well under a millisecond.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

TESTED = "aiortc 1.16.x with aioice 0.13.x"

# Functions, classes and methods: module, then dotted names in it.
NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "aioice",
        (
            "Connection._check_list_maybe_fail",
            "Connection.build_request",
            "Connection.check_complete",
            "Connection.check_incoming",
            "Connection.check_state",
            "Connection.connect",
            "Connection.data_received",
            "Connection.get_component_candidates",
        ),
    ),
    ("aioice.ice", ("CandidatePair.local_candidate", "CandidatePair.remote_addr", "candidate_pair_priority")),
    ("aioice.ice", ("CandidatePair.State.FROZEN", "CandidatePair.State.IN_PROGRESS")),
    ("aioice.ice", ("CandidatePair.State.FAILED", "CandidatePair.State.SUCCEEDED")),
    (
        "aioice.ice",
        (
            "StunProtocol.datagram_received",
            "StunProtocol.request",
            "StunProtocol.send_data",
            "StunProtocol.send_stun",
        ),
    ),
    ("aioice.candidate", ("Candidate.from_sdp", "Candidate.to_sdp", "candidate_foundation", "candidate_priority")),
    (
        "aioice.stun",
        ("Class.REQUEST", "Message", "Message.error_code", "Method.BINDING", "TransactionError", "TransactionFailed"),
    ),
    ("aioice.turn", ("UDP_SOCKET_BUFFER_SIZE", "create_turn_endpoint")),
    ("aiortc.codecs", ("depayload", "get_decoder", "get_encoder")),
    ("aiortc.codecs.base", ("Decoder.decode", "Encoder.encode")),
    ("aiortc.mediastreams", ("VIDEO_TIME_BASE",)),
    ("aiortc.rtcdtlstransport", ("RTCCertificate._create_ssl_context", "RtpRouter.route_rtp", "certificate_digest")),
    (
        "aiortc.rtcdtlstransport",
        (
            "RTCDtlsTransport._handle_rtcp_data",
            "RTCDtlsTransport._handle_rtp_data",
            "RTCDtlsTransport._send_rtp",
            "RTCDtlsTransport._set_role",
            "RTCDtlsTransport._validate_peer_identity",
        ),
    ),
    ("aiortc.rtcrtpparameters", ("RTCRtpDecodingParameters", "RTCRtpReceiveParameters", "RTCRtpSendParameters")),
    ("aiortc.rtcrtpparameters", ("RTCRtcpFeedback",)),
    ("aiortc.codecs.h264", ("h264_depayload",)),
    ("aiortc.codecs.vpx", ("vp8_depayload",)),
    ("aiortc.rtcrtpreceiver", ("RemoteStreamTrack",)),
    (
        "aiortc.rtcrtpreceiver",
        (
            "RTCRtpReceiver._handle_rtcp_packet",
            "RTCRtpReceiver._handle_rtp_packet",
            "RTCRtpReceiver._send_rtcp",
            "RTCRtpReceiver._send_rtcp_nack",
            "RTCRtpReceiver._send_rtcp_pli",
            "RTCRtpReceiver._set_rtcp_ssrc",
        ),
    ),
    ("aiortc.jitterbuffer", ("JitterBuffer.add", "JitterBuffer._remove_frame", "JitterBuffer.remove", "JitterFrame")),
    ("aiortc.rtcrtpreceiver", ("NackGenerator", "TimestampMapper.map")),
    # Replaced by ours: the worker and the handler of RTCRtpReceiver look them up in their module.
    ("aiortc.rtcrtpreceiver", ("depayload", "get_decoder", "StreamStatistics.add")),
    (
        "aiortc.rtcrtpreceiver",
        tuple(f"StreamStatistics.{name}" for name in ("fraction_lost", "jitter", "packets_lost")),
    ),
    (
        "aiortc.rtcrtpsender",
        (
            "RTCEncodedFrame",
            "RTCRtpSender._handle_rtcp_packet",
            "RTCRtpSender._next_encoded_frame",
            "RTCRtpSender._retransmit",
            "RTCRtpSender._send_keyframe",
            "RTCRtpSender._send_rtcp",
        ),
    ),
    ("aiortc.rtp", ("RTCP_PSFB_APP", "RTCP_PSFB_FIR", "RTCP_PSFB_PLI", "RTCP_RTPFB_NACK", "unpack_remb_fci")),
    ("aiortc.rtp", ("RtcpByePacket", "RtcpPsfbPacket", "RtcpRrPacket", "RtcpRtpfbPacket", "RtcpSrPacket")),
    ("aiortc.rtp", ("RTP_HISTORY_SIZE", "RtcpSenderInfo", "RtpPacket", "is_rtcp")),
)

# Attributes of instances: the class, then names that some method of it has to mention.
ATTRIBUTES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "aioice",
        "Connection",
        (
            "_check_list",
            "_local_candidates",
            "_local_candidates_end",
            "_local_candidates_start",
            "_nominated",
            "_nominating",
            "_protocols",
        ),
    ),
    ("aioice.ice", "CandidatePair", ("nominated", "protocol", "remote_candidate", "state", "task")),
    ("aioice.ice", "StunProtocol", ("receiver",)),
    ("aioice.turn", "TurnTransport", ("_TurnTransport__close_task",)),
    # `_recv`, `_send` and `role` are what it asks of an ICE transport.
    ("aiortc", "RTCDtlsTransport", ("_recv", "_role", "_rtp_router", "_send", "_ssl", "_tx_srtp", "role")),
    ("aiortc", "RTCCertificate", ("_cert",)),
    ("aiortc.rtcdtlstransport", "RtpRouter", ("mid_table", "payload_type_table", "ssrc_table")),
    ("aiortc.rtcrtpreceiver", "RemoteStreamTrack", ("_queue",)),
    ("aiortc.rate", "RemoteBitrateEstimator", ("ssrcs",)),
    ("aiortc.jitterbuffer", "JitterBuffer", ("_origin", "_packets", "_remove_frame")),
    ("aiortc", "RTCRtpSender", ("_ssrc", "_rtx_ssrc", "_stream_id", "_track_id")),
    (
        "aiortc",
        "RTCRtpSender",
        (
            "_RTCRtpSender__rtp_header_extensions_map",
            "_RTCRtpSender__rtp_history",
            "_RTCRtpSender__rtp_timestamp",
            "_RTCRtpSender__rtx_payload_type",
            "_RTCRtpSender__rtx_sequence_number",
        ),
    ),
    (
        "aiortc",
        "RTCRtpReceiver",
        (
            "_track",
            "_RTCRtpReceiver__active_ssrc",
            "_RTCRtpReceiver__decoder_error",
            "_RTCRtpReceiver__decoder_queue",
            "_RTCRtpReceiver__jitter_buffer",
            "_RTCRtpReceiver__lsr",
            "_RTCRtpReceiver__lsr_time",
            "_RTCRtpReceiver__nack_generator",
            "_RTCRtpReceiver__remote_bitrate_estimator",
            "_RTCRtpReceiver__remote_streams",
            "_RTCRtpReceiver__rtx_ssrc",
        ),
    ),
)


def check_contract() -> None:
    """Raises ImportError that names the first missing member and the versions this package was tested with."""
    for module, names in NAMES:
        for name in names:
            target: Any = _import(module)
            for part in name.split("."):
                target = getattr(target, part, None)
                if target is None:
                    raise _missing(f"{module}.{name}")
    for module, name, attributes in ATTRIBUTES:
        owner = getattr(_import(module), name, None)
        if owner is None:
            raise _missing(f"{module}.{name}")
        mentioned: set[str] = set()
        for method in vars(owner).values():
            if inspect.isfunction(method):
                mentioned.update(method.__code__.co_names)
        for attribute in attributes:
            if attribute not in mentioned:
                raise _missing(f"{module}.{name}.{attribute}")


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"sipproto_aiortc needs {TESTED}: cannot import {module} ({error})") from error


def _missing(member: str) -> ImportError:
    version = getattr(importlib.import_module("aiortc"), "__version__", "of unknown version")
    return ImportError(f"sipproto_aiortc needs {TESTED}: the installed aiortc {version} has no {member}")


check_contract()
