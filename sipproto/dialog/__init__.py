"""Dialogs, and the building of requests and responses."""

from sipproto.dialog._build import MAX_FORWARDS, Pairs, build_request, build_response
from sipproto.dialog._dialog import Dialog, DialogKey, contact_or_none, contact_target, dialog_key

__all__ = [
    "MAX_FORWARDS",
    "Dialog",
    "DialogKey",
    "Pairs",
    "build_request",
    "build_response",
    "contact_or_none",
    "contact_target",
    "dialog_key",
]
