"""Calls in networks that this machine may not have: IPv6 only, both, and one where peers hide behind mDNS names.

Each is a network namespace, for which `unshare` needs root or user namespaces.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.namespace_call import IPV6

pytestmark = pytest.mark.interop
ROOT = Path(__file__).resolve().parents[2]


def call(mode: str) -> list[Any]:
    """What both ends tell; `namespace_call` says what the modes are."""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "tests.interop.namespace_call", mode]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": "runtimes:adapters"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: list[Any] = json.loads(done.stdout)
    return told


def test_ipv6_only() -> None:
    for end in call("ipv6"):
        assert end == {"default": [f"IP6 {IPV6}"], "candidates": [["host", IPV6]], "pair": [IPV6, IPV6]}


def test_ipv4_is_the_default_where_both_are() -> None:
    for end in call("both"):
        assert end["default"] == ["IP4 10.99.0.1"]
        assert sorted(end["candidates"]) == [["host", "10.99.0.1"], ["host", IPV6]]


def test_relayed_over_ipv6() -> None:
    for end in call("relayed"):
        assert end == {"default": [f"IP6 {IPV6}"], "candidates": [["relay", IPV6]], "pair": [IPV6, IPV6]}


def test_mdns_names_of_the_peer_are_resolved() -> None:
    for end in call("named"):
        assert end["pair"][0] == "127.0.0.1"
        assert end["pair"][1].endswith(".local")
