"""A phone with real devices in a process of its own, as PortAudio looks for devices once:
`python -m tests.interop.sound_child FOLDER PORT DOMAIN PASSWORD`.

It calls the echo at 600 with the devices of the headset, says "talking" on a line of its own, and goes on until its standard
input ends; it fails when it is not talking any more then.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sipproto_phone import commands as c
from sipproto_phone.model import Phase

from .softphone import Softphone


def main(folder: str, port: str, domain: str, password: str) -> None:
    with Softphone(Path(folder), devices=True) as phone:
        account = {"display_name": "Alice", "server": domain, "login": "alice", "transport": "ws", "port": int(port)}
        phone.do(c.SaveAccount(account={**account, "hosts": [f"{domain}=127.0.0.1"]}, password=password))
        phone.do(c.RefreshDevices())
        phone.do(c.ChooseDevices(microphone="headset-mic, ALSA", speaker="headset-out, ALSA"))
        phone.until_online()
        phone.do(c.Dial(number="600"))
        phone.until_phase(Phase.TALKING, "600")
        print("talking", flush=True)
        sys.stdin.read()
        phone.until_phase(Phase.TALKING, "600")


if __name__ == "__main__":
    main(*sys.argv[1:])
