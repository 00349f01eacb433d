"""Runs one target under atheris: `python -m fuzz.run message -max_total_time=600 CORPUS`. Needs `pip install atheris`."""

from __future__ import annotations

import sys
from random import Random

import atheris

with atheris.instrument_imports(include=["sipproto", "sipproto_aiortc"]):
    from fuzz.targets import TARGETS

from fuzz.mutators import mutate


def _mutator(data: bytes, max_size: int, seed: int) -> bytes:
    random = Random(seed)
    if random.random() < 0.3:
        mutated: bytes = atheris.Mutate(data, max_size)
        return mutated
    return mutate(data, random, max_size)


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target, custom_mutator=_mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
