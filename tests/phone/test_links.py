"""The starter for sip: and tel: links."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sipproto_phone.files import StorageError
from sipproto_phone.links import FILE, desktop_entry, install_link_handler


def test_the_starter_is_as_the_desktop_reads_it() -> None:
    entry = configparser.RawConfigParser(strict=True)
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read_string(desktop_entry('/opt/my "phones"/50% off/$HOME/sipproto'))
    section = entry["Desktop Entry"]
    assert section["MimeType"] == "x-scheme-handler/sip;x-scheme-handler/tel;"
    assert section["Exec"] == '"/opt/my \\\\"phones\\\\"/50%% off/\\\\$HOME/sipproto" phone %u'


def test_it_is_installed_for_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "argv", [str(Path(sys.executable).parent / "sipproto")])
    line = install_link_handler(platform="linux")
    path = tmp_path / "data" / "applications" / FILE
    assert str(path) in line
    assert f'Exec="{sys.argv[0]}" phone %u' in path.read_text()
    if (validator := shutil.which("desktop-file-validate")) is not None:
        subprocess.run([validator, path], check=True)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_it_says_so(platform: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="on Linux only"):
        install_link_handler(tmp_path, platform)
    assert not list(tmp_path.iterdir())
