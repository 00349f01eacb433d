"""A phone in a process of its own, to be killed: `python -m tests.interop.phone_child FOLDER NUMBER`.

It calls the number, says "talking" on a line of its own, and goes on until it is ended.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from sipproto_phone import commands as c
from sipproto_phone.model import Phase

from .softphone import Softphone


def main(folder: str, number: str) -> None:
    with Softphone(Path(folder)) as phone:
        phone.until_online()
        phone.do(c.Dial(number=number))
        phone.until_phase(Phase.TALKING, number)
        print("talking", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
