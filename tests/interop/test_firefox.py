"""What Firefox does as users have it: candidates with names in place of addresses, which it tells in mDNS."""

from __future__ import annotations

import re

import pytest

from .kamailio import Kamailio
from .media_calls import AUDIO, VIDEO, pair_of
from .peers import BrowserPeer

pytestmark = [pytest.mark.interop, pytest.mark.browsers("firefox-mdns")]


def test_hidden_addresses(kamailio: Kamailio, browser: BrowserPeer) -> None:
    """Whether their names can be resolved or not, the page finds us, and we see where it comes from."""
    with pair_of(kamailio, browser, "hidden") as pair:
        for caller in ("alice", "bob"):
            call = pair.call(caller=caller, media=(AUDIO, VIDEO))
            hosts = re.findall(r"a=candidate:\S+ 1 UDP \d+ (\S+)", call.descriptions()[1])
            assert hosts and all(host.endswith(".local") for host in hosts)
            call.talk()
            call.watch()
            assert pair.alice.do(call.call.restart_ice) is True
            call.talk()
            call.watch()
            pair.end_calls()
