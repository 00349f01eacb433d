"""Shows a scenario as it is played: `python -m tests.scenarios.show NAME [TRANSPORT]`."""

from __future__ import annotations

import sys

from tests.scenarios.library import SCENARIOS
from tests.scenarios.world import World, event_text, message_of, message_text


def lines(world: World) -> list[str]:
    out = []
    for when, name, output in world.log:
        message = message_of(output)
        text = message_text(message) if message is not None else event_text(output)
        if text:
            indent = 16 * list(world.nodes).index(name)
            out.append(f"{when:9.3f} {' ' * indent}{name}: {'-> ' if message is not None else ''}{text}")
    return out


def main() -> None:
    name, transport = [*sys.argv[1:], "WS"][:2]
    world = SCENARIOS[name].world(transport)
    world.strict = False
    try:
        SCENARIOS[name].play(world)
        world.finish()
    finally:
        print("\n".join(lines(world)))


if __name__ == "__main__":
    main()
