"""Parsing, reading and writing messages beside named peers. Compare columns, not runs: `pytest tests/benchmarks --benchmark-enable`."""

from __future__ import annotations

from typing import Any

import pytest

from .contestants import ACCESSORS, PARSERS, WRITERS
from .corpus import MESSAGES

messages = pytest.mark.parametrize("name", MESSAGES)


@messages
@pytest.mark.parametrize("who", PARSERS)
def test_parse(benchmark: Any, name: str, who: str) -> None:
    benchmark.group = f"parse {name}"
    assert benchmark(PARSERS[who], MESSAGES[name]) is not None


@messages
@pytest.mark.parametrize("who", ACCESSORS)
def test_parse_and_read_eleven_fields(benchmark: Any, name: str, who: str) -> None:
    benchmark.group = f"parse and read {name}"
    assert len(benchmark(ACCESSORS[who], MESSAGES[name])) >= 6


@messages
@pytest.mark.parametrize("who", WRITERS)
def test_serialise(benchmark: Any, name: str, who: str) -> None:
    benchmark.group = f"serialise {name}"
    parse, write = WRITERS[who]
    assert benchmark(write, parse(MESSAGES[name]))
