"""What can be said of the page without a browser: its texts are complete, and nothing in it could run foreign text."""

from __future__ import annotations

import re
import string
from importlib.resources import files
from pathlib import Path

import pytest

from sipproto_phone import model
from sipproto_phone.texts import LANGUAGES, table, text

PAGE = Path(str(files("sipproto_phone") / "page"))
SOURCES = {path.name: path.read_text("utf-8") for path in PAGE.iterdir() if path.suffix in (".js", ".html")}
# Keys that are put together: their beginning, and what may follow.
COMPOSED = {
    "online_": [one.value for one in model.Online],
    "problem_": [one.value for one in model.Problem],
    "phase_": [one.value for one in model.Phase],
    "outcome_": [one.value for one in model.Outcome],
    "quality_": ["0", "1", "2", "3", "4"],
    "status_": ["open", "closed"],
    "certificate_": ["host", "fingerprint", "subject", "issuer", "not_after"],
    "notifications_": ["default", "granted", "denied"],
}


def placeholders(words: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(words) if name is not None}


def test_both_languages_are_complete() -> None:
    for key, entry in table().items():
        assert len(entry) == len(LANGUAGES) and all(words.strip() for words in entry), key
        assert placeholders(entry[0]) == placeholders(entry[1]), key
    # What is in Russian has Russian letters, unless there is nothing to translate.
    latin = {key for key, (_, russian) in table().items() if not re.search("[а-яё]", russian.lower())}
    assert latin == {"not_known", "unit_percent", "says_phase", "language_en"}


@pytest.mark.parametrize(("beginning", "ends"), COMPOSED.items())
def test_every_value_has_its_words(beginning: str, ends: list[str]) -> None:
    for end in ends:
        assert f"{beginning}{end}" in table()


def test_the_page_uses_the_texts_that_there_are() -> None:
    used: set[str] = set()
    for source in SOURCES.values():
        used |= set(re.findall(r"\bt\(\s*\"(\w+)\"", source))
        used |= set(re.findall(r"data-t(?:-label|-placeholder)?=\"(\w+)\"", source))
    assert used <= set(table())
    quoted = {word for source in SOURCES.values() for word in re.findall(r"[\"'](\w+)[\"']", source)}
    composed = {beginning + end for beginning, ends in COMPOSED.items() for end in ends}
    computed = re.compile("^(field|error)_")
    unused = {key for key in table() if key not in used | quoted | composed and not computed.match(key)}
    assert not unused


def test_texts_of_the_terminal() -> None:
    assert text("ru", "mailbox_new", count=3) == "Новых сообщений: 3"
    assert text("en", "online_online") == text("tlh", "online_online") == "Online"


def test_nothing_of_the_page_could_run_foreign_text() -> None:
    for name, source in SOURCES.items():
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert word not in source, (name, word)
    html = SOURCES["index.html"]
    assert not re.search(r"\s(on\w+|style)=", html)
    assert "<script>" not in html and "<style" not in html
    for source in [*SOURCES.values(), (PAGE / "style.css").read_text()]:
        assert set(re.findall(r"https?://([\w.-]+)", source)) <= {"www.w3.org"}
