"""The page of promises names tests that exist, and all of those here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "promises.md").read_text()
_NAMED = re.compile(r"`(\w+/test_\w+\.py)(?:::(\w+))?`")


def _defined_in(path: Path) -> set[str]:
    """The names of its tests and classes."""
    definitions = (ast.FunctionDef, ast.ClassDef)
    names = (node.name for node in ast.parse(path.read_text()).body if isinstance(node, definitions))
    names_of_cases = re.findall(r"^(Test\w+) = ", path.read_text(), re.MULTILINE)  # of state machines
    return {name for name in (*names, *names_of_cases) if name.lower().startswith("test")}


def test_every_test_that_is_named_exists() -> None:
    named = _NAMED.findall(PAGE)
    assert len(named) > 100
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (TESTS / file).exists() or (name and name not in _defined_in(TESTS / file))
    ]
    assert not missing


def test_every_test_of_a_promise_is_named() -> None:
    named = {name for file, name in _NAMED.findall(PAGE) if file.startswith("promises/") and name}
    here = {name for path in TESTS.glob("promises/test_*.py") if path != Path(__file__) for name in _defined_in(path)}
    assert here == named


def test_every_row_of_promises_and_faults_has_a_test() -> None:
    kept, _, rest = PAGE.partition("### Otherwise, or not at all")
    rows = [row for row in (kept + rest.partition("## Faults")[2]).splitlines() if row.startswith("| ")]
    assert [row for row in rows if not _NAMED.search(row) and row not in _HEADS] == []


_HEADS = {"| promise | ours | test |", "| fault of the original | ours | test |", "| --- | --- | --- |"}
