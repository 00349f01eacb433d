"""The texts of the views, in English and Russian, from the one table that the page has too."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "ru")


@cache
def table() -> dict[str, list[str]]:
    """By key: the text in each of LANGUAGES. `{name}` stands for a value."""
    read: dict[str, list[str]] = json.loads((files("sipproto_phone") / "page" / "texts.json").read_text("utf-8"))
    return read


def text(language: str, key: str, **values: object) -> str:
    """A text with its values; English for a language that there is not."""
    place = LANGUAGES.index(language) if language in LANGUAGES else 0
    return table()[key][place].format(**values)
