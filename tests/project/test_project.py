"""Rules of the project that nothing else would notice: purity, exports, packaging, sizes, cleanliness."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(
    path
    for root in ("sipproto", "runtimes/*", "adapters/*")
    for path in ROOT.glob(root)
    if (path / "__init__.py").exists()
)
IMPURE = {
    *("asyncio", "anyio", "trio", "socket", "ssl", "threading", "time", "random", "secrets", "uuid", "os", "select"),
    *("selectors", "subprocess", "multiprocessing", "concurrent", "pathlib", "io", "datetime", "locale"),
}


def modules(package: Path) -> Iterator[Path]:
    return package.rglob("*.py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_core_is_pure() -> None:
    for path in modules(ROOT / "sipproto"):
        found = imported(path) & IMPURE
        assert not found or (path.name == "_entropy.py" and found == {"secrets"}), (path, found)


def test_the_core_needs_attrs_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"attrs", "sipproto"}
    for path in modules(ROOT / "sipproto"):
        assert imported(path) <= allowed, path


def test_source_roots_are_not_packages() -> None:
    assert not (ROOT / "runtimes" / "__init__.py").exists()
    assert not (ROOT / "adapters" / "__init__.py").exists()
    assert not any(name.startswith(("runtimes.", "adapters.")) for name in sys.modules)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_each_package_is_typed_and_its_exports_exist(package: Path) -> None:
    assert (package / "py.typed").exists()
    module = importlib.import_module(package.name)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    for name in module.__all__:
        assert hasattr(module, name), name


def test_sizes_say_when_a_part_is_missing() -> None:
    for package in PACKAGES:
        for path in modules(package):
            tree = ast.parse(path.read_text())
            assert len(path.read_text().splitlines()) <= 600, path
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    length = (node.end_lineno or 0) - node.lineno + 1
                    assert length <= 60, (path, node.name, length)


def test_public_names_of_the_core_have_docstrings() -> None:
    for name in ("sipproto", "sipproto.agent.inputs", "sipproto.agent.outputs", "sipproto.agent.media"):
        module = importlib.import_module(name)
        for item, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == name and not item.startswith("_"):
                assert value.__doc__ or name.endswith(("outputs", "media")), (name, item)


def test_wheel_holds_the_packages_and_nothing_else(tmp_path: Path) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = {Path(item).name for item in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert listed == {package.name for package in PACKAGES}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        top = {name.split("/")[0] for name in wheel.namelist()}
        typed = {name for name in wheel.namelist() if name.endswith("py.typed")}
        names = set(wheel.namelist())
    page = {
        path.relative_to(ROOT / "adapters").as_posix() for path in (ROOT / "adapters/sipproto_phone/page").iterdir()
    }
    assert len(page) > 10 and page <= names
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as source:
        assert {f"adapters/{name}" for name in page} <= {name.partition("/")[2] for name in source.getnames()}
    assert {name for name in top if not name.endswith(".dist-info")} == listed
    assert len(typed) == len(listed)


def test_no_machine_paths() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".json", ".js", ".mjs"} and path.is_file():
            text = path.read_text(errors="replace")
            for part in ("/" + "work/", "/" + "root/", "/" + "home/"):
                assert part not in text, (name, part)
