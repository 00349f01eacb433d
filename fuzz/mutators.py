"""Changes that keep the shape of a message: a byte mutator alone finds next to nothing behind a header parser."""

from __future__ import annotations

from random import Random

TOKENS = [
    *(
        b"sip:",
        b"sips:",
        b"tel:",
        b"<",
        b">",
        b'"',
        b"\\",
        b";",
        b",",
        b":",
        b"@",
        b"%00",
        b"%41",
        b"%",
        b"?",
        b"=",
        b"*",
    ),
    *(
        b"\r\n",
        b"\r\n ",
        b"\n",
        b"\0",
        b"\0\0",
        b" ",
        b"\t",
        b"\xff",
        b"\xc3\xa9",
        b"[::1]",
        b"z9hG4bK",
        b";lr",
        b";tag=",
    ),
    *(b"0", b"-1", b"4294967295", b"4294967296", b"99999999999999999999", b"65536", b"SIP/2.0", b"SIP/7.0"),
    *(b"Content-Length: ", b"Via: SIP/2.0/WS a;branch=z9hG4bKx", b"CSeq: 1 INVITE", b"Contact: *", b"Require: 100rel"),
    *(
        b"Event: presence",
        b"Subscription-State: terminated;reason=timeout",
        b"Expires: 0",
        b"SIP-ETag: x",
        b"Retry-After: 1",
    ),
    *(b"SUBSCRIBE ", b"NOTIFY ", b"PUBLISH ", b"412 ", b"423 ", b"481 ", b"489 "),
    *(b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"100 ", b"180 ", b"200 ", b"401 ", b"487 ", b"491 ", b"699 "),
    *(
        b"a=mid:0",
        b"m=audio 9 UDP/TLS/RTP/SAVPF 0",
        b"a=group:BUNDLE 0 1",
        b"a=rtcp-mux",
        b"a=inactive",
        b"m=video 0 RTP/AVP 0",
    ),
]


def mutate(data: bytes, random: Random, limit: int = 8192) -> bytes:
    """One to four changes of lines, tokens or octets."""
    for _ in range(random.randint(1, 4)):
        data = random.choice(_CHANGES)(data, random)
    return data[:limit]


def _lines(data: bytes) -> list[bytes]:
    return data.split(b"\r\n")


def _drop_line(data: bytes, random: Random) -> bytes:
    lines = _lines(data)
    del lines[random.randrange(len(lines))]
    return b"\r\n".join(lines)


def _repeat_line(data: bytes, random: Random) -> bytes:
    lines = _lines(data)
    at = random.randrange(len(lines))
    return b"\r\n".join(lines[:at] + [lines[at]] * random.choice((2, 2, 3, 40)) + lines[at + 1 :])


def _swap_values(data: bytes, random: Random) -> bytes:
    lines = _lines(data)
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    name_one, colon_one, value_one = lines[one].partition(b":")
    name_two, colon_two, value_two = lines[two].partition(b":")
    lines[one], lines[two] = name_one + colon_one + value_two, name_two + colon_two + value_one
    return b"\r\n".join(lines)


def _insert_token(data: bytes, random: Random) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(TOKENS) * random.choice((1, 1, 1, 2, 50)) + data[at:]


def _replace_octets(data: bytes, random: Random) -> bytes:
    at, length = random.randint(0, len(data)), random.randint(0, 8)
    return data[:at] + bytes(random.randrange(256) for _ in range(random.randint(0, 8))) + data[at + length :]


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randint(0, len(data))]


def _double(data: bytes, random: Random) -> bytes:
    return data + random.choice((b"", b"\0\0")) + data


_CHANGES = [_drop_line, _repeat_line, _swap_values, _insert_token, _insert_token, _replace_octets, _cut, _double]
