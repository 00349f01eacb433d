"""Real peers for the interop tests; a missing one is an error, because a skipped test proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from .kamailio import Kamailio
from .peers import BrowserPeer
from .sipp_stage import Stage, Way


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "browser" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("browsers")
        kinds = mark.args if mark is not None else ("chromium",)
        metafunc.parametrize("browser", kinds, indirect=True, scope="module")


@pytest.fixture(scope="session")
def kamailio() -> Iterator[Kamailio]:
    with Kamailio() as server:
        yield server


@pytest.fixture(scope="session")
def browsers() -> Iterator[Callable[[str], BrowserPeer]]:
    """Gives a browser by its kind; each is started when somebody wants it first."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(BrowserPeer(kind)))


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, browsers: Callable[[str], BrowserPeer]) -> BrowserPeer:
    """As the mark `browsers` says."""
    return browsers(request.param)


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """A place for one scenario of SIPp; `sipp_stage.ways` says who is between us."""
    way: Way = request.param
    return Stage(tmp_path, way, request.getfixturevalue("kamailio") if way.ours else None)
