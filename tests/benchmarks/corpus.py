"""Five ordinary messages to measure with: what a WebRTC client and a carrier's proxy really exchange."""

from __future__ import annotations

_SDP_HEAD = """v=0
o=- 5044349902739973869 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=msid-semantic: WMS 82f6a8ce
"""
_SDP_MEDIA = """m={kind} 33312 UDP/TLS/RTP/SAVPF {types}
c=IN IP4 192.0.2.7
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1131452369 1 udp 2122194687 192.0.2.7 33312 typ host generation 0 network-id 3
a=candidate:1823909029 1 udp 2122134271 2001:db8::7 42560 typ host generation 0 network-id 2
a=ice-ufrag:tGO2
a=ice-pwd:+y/mlkV5c1FidkvQGwiFVU8z
a=fingerprint:sha-256 41:2D:B3:B0:F0:E0:3C:0F:CF:5A:D3:2A:6E:72:5B:A7:3A:0F:C3:EF:EC:5C:8B:A0:F7:7C:E7:E9:E1:C0:76:19
a=setup:actpass
a=mid:{mid}
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendrecv
a=msid:82f6a8ce-611b-4536-8c62-d9148225eaca 12d0cff4-e351-4ed7-9d9d-ddb583d15532
a=rtcp-mux
{maps}"""


def _crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


SDP = _crlf(
    _SDP_HEAD
    + _SDP_MEDIA.format(
        kind="audio",
        types="111 9 0 8 126",
        mid=0,
        maps="a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\na=rtpmap:126 telephone-event/8000\n",
    )
    + _SDP_MEDIA.format(
        kind="video",
        types="96 97",
        mid=1,
        maps="a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\na=rtpmap:97 rtx/90000\n"
        "a=fmtp:97 apt=96\n",
    )
)

_REGISTER = """REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/WSS kguf0m1ksvgr.invalid;branch=z9hG4bK3763610
Max-Forwards: 69
To: <sip:erin@example.com>
From: "erin" <sip:erin@example.com>;tag=6bni75alkl
Call-ID: ccm8301un32enrabpp0ljb
CSeq: 2 REGISTER
Authorization: Digest algorithm=MD5, username="erin", realm="example.com", nonce="awEgemsBH06nm+ghhyM/4/GK", uri="sip:example.com", response="7a84f8b26bd878e51ec8fc2ded82d7de", qop=auth, cnonce="hajm3fk70m7b", nc=00000001
Expires: 300
Contact: <sip:68s5o4at@kguf0m1ksvgr.invalid;transport=ws>;+sip.ice;reg-id=1;+sip.instance="<urn:uuid:a6576b52-1d5b-4842-a249-c5f0aa031cfa>";expires=300
Allow: INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO,NOTIFY,SUBSCRIBE
Supported: path,gruu,outbound
User-Agent: sipproto
Content-Length: 0

"""
_INVITE = """INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/WSS kguf0m1ksvgr.invalid;branch=z9hG4bK8021532
Max-Forwards: 69
To: <sip:bob@example.com>
From: "erin" <sip:erin@example.com>;tag=pp71enf35c
Call-ID: 45kkhduocml4mphjipe4
CSeq: 8631 INVITE
Contact: <sip:erin@example.com;gr=urn:uuid:a6576b52-1d5b-4842-a249-c5f0aa031cfa>
Content-Type: application/sdp
Allow: INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO,NOTIFY,SUBSCRIBE
Supported: gruu,ice,replaces,outbound
User-Agent: sipproto
Content-Length: {length}

"""
_OK = """SIP/2.0 200 OK
Via: SIP/2.0/WSS kguf0m1ksvgr.invalid;branch=z9hG4bK8021532;rport=49580;received=192.0.2.9
Record-Route: <sip:192.0.2.1:8080;transport=ws;r2=on;lr=on;ftag=pp71enf35c>
Record-Route: <sip:192.0.2.1;r2=on;lr=on;ftag=pp71enf35c>
To: <sip:bob@example.com>;tag=ou8vbsrunt
From: "erin" <sip:erin@example.com>;tag=pp71enf35c
Call-ID: 45kkhduocml4mphjipe4
CSeq: 8631 INVITE
Contact: <sip:7gk0d@s1.invalid;alias=192.0.2.9~43216~5;transport=ws>
Allow: INVITE,ACK,CANCEL,BYE,UPDATE,MESSAGE,OPTIONS,REFER,INFO
Supported: timer,gruu
Content-Type: application/sdp
Server: sipproto
Content-Length: {length}

"""
_INFO = """INFO sip:erin@example.com;gr=urn:uuid:a6576b52 SIP/2.0
Via: SIP/2.0/WSS kguf0m1ksvgr.invalid;branch=z9hG4bK4416207
Max-Forwards: 69
To: <sip:bob@example.com>;tag=ou8vbsrunt
From: "erin" <sip:erin@example.com>;tag=pp71enf35c
Call-ID: 45kkhduocml4mphjipe4
CSeq: 8632 INFO
Contact: <sip:erin@example.com;gr=urn:uuid:a6576b52-1d5b-4842-a249-c5f0aa031cfa>
Content-Type: application/json
Content-Length: {length}

"""
_HEAVY_VIAS = "".join(
    f"Via: SIP/2.0/UDP 198.51.100.{n}:5060;branch=z9hG4bK-{n}-77asjd8923;received=198.51.100.{n};rport=5060\n"
    for n in range(1, 7)
)
_HEAVY_ROUTES = "".join(f"Record-Route: <sip:198.51.100.{n}:5060;transport=udp;lr>\n" for n in range(1, 6))
_HEAVY_EXTRA = "".join(f"X-Carrier-Data-{n}: value-{n}; info=abcdef\n" for n in range(1, 8))
_HEAVY = (
    "INVITE sip:+12155551212@gw.example.net:5060;user=phone SIP/2.0\n"
    + _HEAVY_VIAS
    + _HEAVY_ROUTES
    + """From: "Alice \\"Al\\" Smith" <sip:+13125551000@carrier.example.com;user=phone>;tag=9fxced76sl
To: <sip:+12155551212@gw.example.net;user=phone>
Call-ID: 3848276298220188511@198.51.100.1
CSeq: 1 INVITE
Max-Forwards: 64
Contact: <sip:+13125551000@198.51.100.1:5060;transport=udp>
Allow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, INFO, NOTIFY, OPTIONS
Supported: 100rel, timer, replaces, path
Session-Expires: 1800;refresher=uac
Min-SE: 90
P-Asserted-Identity: "Alice" <sip:+13125551000@carrier.example.com>
P-Asserted-Identity: <tel:+13125551000>
Privacy: none
P-Charging-Vector: icid-value=1234bc9876e;icid-generated-at=198.51.100.6
Diversion: <sip:+13125552000@carrier.example.com>;reason=unconditional
User-Agent: Carrier-SBC/7.2
Accept: application/sdp
Content-Type: application/sdp
"""
    + _HEAVY_EXTRA
    + "Content-Length: {length}\n\n"
)
_HEAVY_SDP = _crlf(
    "v=0\no=- 1 1 IN IP4 198.51.100.9\ns=-\nc=IN IP4 198.51.100.9\nt=0 0\nm=audio 40000 RTP/AVP 0 8 18 101\n"
    "a=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:18 G729/8000\na=rtpmap:101 telephone-event/8000\n"
    "a=fmtp:101 0-15\na=ptime:20\na=sendrecv\n"
)


def _message(head: str, body: str = "") -> bytes:
    return (_crlf(head).replace("{length}", str(len(body))) + body).encode()


MESSAGES: dict[str, bytes] = {
    "register": _message(_REGISTER),
    "invite": _message(_INVITE, SDP),
    "ok200": _message(_OK, SDP),
    "info": _message(_INFO, '{"statistics": "' + "0123456789abcdef" * 53 + '"}'),
    "heavy": _message(_HEAVY, _HEAVY_SDP),
}
