"""The SIP stacks of the conference SDK in a browser, and our server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .embedded import Embedded
from .krivega import SDKS, Sdk, SdkPage
from .ours import wait_for
from .peers import HERTZ, BrowserPeer

pytestmark = pytest.mark.interop
each_sdk = pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)


@pytest.fixture(scope="module")
def server() -> Iterator[Embedded]:
    with Embedded() as server:
        yield server


@pytest.fixture
def page(sdk: Sdk, server: Embedded, browser: BrowserPeer) -> Iterator[SdkPage]:
    page = SdkPage(browser, "bob", sdk)
    try:
        page.enter(server)
        yield page
    finally:
        page("close")
        browser.forget_events()


@each_sdk
def test_echo(page: SdkPage) -> None:
    page("call", target="600", video=True)
    wait_for(page, lambda stats: abs(stats["audio"]["frequency"] - HERTZ["bob"]) <= 0.05 * HERTZ["bob"])
    wait_for(page, lambda stats: stats["video"]["frames_decoded"] > 10)
    for name in page.sdk.recording.names(sent=True):
        if page.sdk.recording.request(name).method == "INFO":
            assert page.say(name) == 200
