"""Where random tokens come from: the only source of randomness, injected into every engine.

With `SeededTokens` an engine repeats itself octet for octet; `SystemTokens` is the default outside tests. The tokens of
RFC 3261 (tags 19.3, branches 8.1.1.7, Call-IDs 8.1.1.4) need 32 bits of randomness at least; ours have 64 or more.
"""

from __future__ import annotations

from typing import Protocol

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base 32: case never matters, safe in every header


class TokenSource(Protocol):
    """A source of random bits. One method, so that anything can serve as one."""

    def bits(self, count: int) -> int:
        """A uniform integer of `count` bits (1 and more)."""
        ...


class SeededTokens:
    """A deterministic source (SplitMix64). For tests, simulation and replay, never for production."""

    def __init__(self, seed: int) -> None:
        self._state = seed & 0xFFFFFFFFFFFFFFFF

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        return z ^ (z >> 31)

    def bits(self, count: int) -> int:
        value = 0
        for _ in range(0, count, 64):
            value = (value << 64) | self._next()
        return value >> (-count % 64)


def token(source: TokenSource, length: int = 13) -> str:
    """`length` characters of 5 bits each; 13 characters carry 65 bits."""
    value = source.bits(5 * length)
    out = []
    for _ in range(length):
        out.append(_ALPHABET[value & 31])
        value >>= 5
    return "".join(out)


def uniform(source: TokenSource) -> float:
    """A float in [0, 1): for jitter."""
    return source.bits(53) / 9007199254740992.0


def uuid4(source: TokenSource) -> str:
    """A random UUID (RFC 9562 5.4): for `+sip.instance` (RFC 5626 4.1)."""
    n = source.bits(128)
    n = n & ~(0xF << 76) | (4 << 76)
    n = n & ~(0x3 << 62) | (2 << 62)
    text = f"{n:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
