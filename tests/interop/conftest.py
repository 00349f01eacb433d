"""Real peers for the interop tests; a missing one is an error, because a skipped test proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .kamailio import Kamailio
from .peers import BrowserPeer
from .sipp_stage import Stage, Way


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interop: needs the real SIP peers that tests/interop/install-peers installs")


@pytest.fixture(scope="session")
def kamailio() -> Iterator[Kamailio]:
    with Kamailio() as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserPeer]:
    with BrowserPeer() as peer:
        yield peer


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """A place for one scenario of SIPp; `sipp_stage.ways` says who is between us."""
    way: Way = request.param
    return Stage(tmp_path, way, request.getfixturevalue("kamailio") if way.ours else None)
