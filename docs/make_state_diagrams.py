"""Draws docs/state-machines.md from the tables that run. `python docs/make_state_diagrams.py` writes it; a test compares."""

from __future__ import annotations

from pathlib import Path

from sipproto.agent import CONNECTION_TABLE, NOTIFIER_TABLE, SUBSCRIBER_TABLE
from sipproto.agent import TABLE as CALL
from sipproto.media.congestion import RATE_TRANSITIONS
from sipproto.media.video_balancer import BALANCER_TABLE
from sipproto.negotiation import TRANSITIONS as SIGNALING
from sipproto.transaction import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER

TARGET = Path(__file__).with_name("state-machines.md")
_HEAD = """# State machines

Drawn by `make_state_diagrams.py` from the tables that the code runs; do not edit. Inputs that change nothing are left out.
"""
Edges = list[tuple[str, str, str]]


def _diagram(title: str, edges: Edges) -> str:
    joined: dict[tuple[str, str], list[str]] = {}
    for source, target, label in edges:
        joined.setdefault((source, target), []).append(label)
    lines = [f"## {title}", "", "```mermaid", "stateDiagram-v2"]
    for (source, target), labels in joined.items():
        lines.append(f"    {_name(source)} --> {_name(target)}: {' / '.join(labels)}")
    return "\n".join([*lines, "```", ""])


def _name(text: str) -> str:
    return text.replace("-", "_").replace(" ", "_")


def render() -> str:
    parts = [_HEAD]
    machines = (
        ("INVITE client transaction (RFC 3261 17.1.1, RFC 6026)", INVITE_CLIENT),
        ("Other client transaction (17.1.2)", CLIENT),
        ("INVITE server transaction (17.2.1, RFC 6026)", INVITE_SERVER),
        ("Other server transaction (17.2.2)", SERVER),
    )
    for title, table in machines:
        edges = [
            (state.value, following.value, what.value)
            for (state, what), (following, actions) in table.items()
            if actions or following is not state
        ]
        parts.append(_diagram(title, edges))
    parts.append(
        _diagram("Call", [(state.value, after.value, what.value) for (state, what), (after, _) in CALL.items()])
    )
    connection = [(state.value, after.value, what.value) for (state, what), (after, _) in CONNECTION_TABLE.items()]
    parts.append(_diagram("Connection to the server (RFC 5626)", connection))
    ours = [(state.value, after.value, what.value) for (state, what), (after, _) in SUBSCRIBER_TABLE.items()]
    parts.append(_diagram("Subscription of ours (RFC 6665 4.1)", ours))
    peers = [(state.value, after.value, what.value) for (state, what), (after, _) in NOTIFIER_TABLE.items()]
    parts.append(_diagram("Subscription of a peer (RFC 6665 4.2)", peers))
    signaling = [(state.value, after.value, step.value) for (state, step), after in SIGNALING.items()]
    parts.append(_diagram("Offer and answer (RFC 3264, RFC 8829)", signaling))
    balancer = [(state.value, after.value, what.value) for (state, what), (after, _) in BALANCER_TABLE.items()]
    parts.append(_diagram("Balancing of the main video", balancer))
    rate = [(state.value, after.value, usage.value) for (state, usage), after in RATE_TRANSITIONS.items()]
    parts.append(_diagram("Bit rate by delay (draft-ietf-rmcat-gcc-02 5.5)", rate))
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render())
