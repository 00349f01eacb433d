"""Calls between one of ours and a telephone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sipproto.agent import outputs as o
from sipproto_client import Call

from .baresip import Baresip
from .child import PATIENCE
from .linphone import Linphone
from .ours import Ours
from .telephones import Telephone

OURS, THEIRS = 500, 800  # hertz
KINDS: dict[str, Callable[..., Telephone]] = {"baresip": Baresip, "linphone": Linphone}
each_kind = pytest.mark.parametrize("kind", KINDS)


def called(ours: Ours, phone: Telephone, **options: Any) -> Call:
    """We call the telephone, which answers. options: those of `Ours.call`."""
    made = ours.call(phone.account.user, **options)
    phone.rings()
    phone.answer()
    call = made.result(PATIENCE)
    phone.established()
    return call


def calls(phone: Telephone, target: str, ours: Ours) -> Call:
    """The telephone calls us, and we answer."""
    phone.call(target)
    call = ours.answer()
    phone.established()
    return call


def talk(ours: Ours, call: Call, phone: Telephone, theirs: float = THEIRS, our_tone: float = OURS) -> None:
    """Each hears the other."""
    ours.hears(call, theirs)
    phone.hears(our_tone)


def ended(ours: Ours, call: Call, phone: Telephone, originator: o.Originator) -> None:
    """Both know that one of them has hung up."""
    end = ours.do(call.wait_ended)
    assert (end.cause, end.originator) == (o.Cause.TERMINATED, originator), end
    phone.closed()
