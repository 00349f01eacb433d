"""`sipproto trace` and `--trace`, as a user meets them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from sipproto.trace import read_transcript
from tests.cli.test_cli import DOMAIN, SIPPROTO, run, serving
from tests.trace.rig import simulate
from tests.trace.test_replay import digest_call

TEXT = digest_call().text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "one.transcript"
    path.write_text(TEXT)
    return path


def test_help_teaches() -> None:
    code, out, _ = run("trace", "--help")
    assert code == 0
    for words in ("ladder", "replay", "diff", "pcap", "Exit codes", "--trace FILE"):
        assert words in out.replace("\n", " "), words
    assert "octet for octet" in run("trace", "replay", "--help")[1]


def test_ladder(file: Path) -> None:
    code, out, errors = run("trace", "ladder", str(file))
    assert (code, errors) == (0, "")
    assert "REGISTER" in out and "401 Unauthorized" in out
    narrow = run("trace", "ladder", str(file), "--width", "70")[1]
    assert max(map(len, narrow.splitlines())) <= 70


def test_replay(file: Path) -> None:
    code, out, errors = run("trace", "replay", str(file))
    assert (code, errors) == (0, "") and re.fullmatch(r"equal: 5 inputs, [0-9]+ outputs\n", out)
    file.write_text(TEXT.replace("User-Agent: sipproto", "User-Agent: sippr\\x1b[o", 1))
    code, out, errors = run("trace", "replay", str(file))
    assert (code, errors) == (1, "") and out.startswith("different: 1 of ")
    assert "-    | User-Agent: sippr\\x1b[o\n" in out and "+    | User-Agent: sipproto\n" in out


def test_diff(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "two.transcript"
    other.write_text(digest_call().text)
    assert run("trace", "diff", str(file), str(other)) == (0, "", "")
    other.write_text(TEXT.replace("User-Agent: sipproto", "User-Agent: sippr[to"))
    code, out, _ = run("trace", "diff", str(file), str(other), "-U", "0")
    assert code == 1 and out.startswith(f"--- {file}\n+++ {other}\n@@")
    assert run("trace", "diff", str(file), str(other), "--brief", "--no-times")[0] == 0


def test_pcap(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.pcap"
    assert run("trace", "pcap", str(file), "-o", str(target), "--start", "1700000000") == (0, "", "")
    data = target.read_bytes()
    assert data[:4] == b"\xa1\xb2\xc3\xd4" and data[24:28] == (1_700_000_000).to_bytes(4, "big")
    piped = subprocess.run(
        [*SIPPROTO, "trace", "pcap", str(file), "-o", "-", "--start", "1700000000"],
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert piped.stdout == data
    code, _, errors = run("trace", "pcap", str(file), "-o", str(tmp_path))
    assert code == 1 and "Is a directory" in errors


@pytest.mark.parametrize("command", ["ladder", "replay", "diff", "pcap"])
def test_files_that_cannot_be_used(command: str, file: Path, tmp_path: Path) -> None:
    more = {"diff": [str(file)], "pcap": ["-o", str(tmp_path / "p")]}.get(command, [])
    bad = tmp_path / "bad"
    for content, says in (
        (None, "No such file"),
        (b"\x00\xff", "not UTF-8"),
        (b"hello", "no sipproto transcript"),
        (TEXT.replace("flow = 1", "flow = x").encode(), f"line {TEXT[: TEXT.index('flow = 1')].count(chr(10)) + 1}: "),
        (TEXT[:-20].encode(), "--partial takes what there is"),
        (TEXT.replace("transcript 1", "transcript 3", 1).encode(), "format 1"),
    ):
        if content is not None:
            bad.write_bytes(content)
        code, out, errors = run("trace", command, str(bad), *more)
        assert code == 2 and out == "" and says in errors, errors
        assert errors.startswith("sipproto: ") and errors.count("\n") == 1
    assert not (tmp_path / "p").exists()
    assert run("trace", command, str(tmp_path), *more)[0] == 2


def test_partial(file: Path) -> None:
    file.write_text(TEXT[:-20])
    for command in ("ladder", "replay"):
        assert run("trace", command, str(file), "--partial")[0] == 0


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text(simulate("ws-clean", "good", 1, calls=20).recorded["a"].text)
    read, write = os.pipe()
    process = subprocess.Popen([*SIPPROTO, "trace", "ladder", str(path)], stdout=write, stderr=subprocess.PIPE)
    os.close(read)
    os.close(write)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1 and b"Traceback" not in errors and errors.count(b"\n") <= 1


def test_commands_record(tmp_path: Path) -> None:
    path = tmp_path / "register.transcript"
    with serving() as (_, port):
        server = ("--ws", f"ws://127.0.0.1:{port}/", "--domain", DOMAIN, "--user", "alice")
        assert run("register", *server, "--trace", str(path))[0] == 0
        code, _, errors = run("register", *server, "--trace", str(tmp_path / "no" / "where"))
        assert code == 1 and "No such file" in errors
        options = tmp_path / "options.transcript"
        assert run("options", *server, "--trace", str(options), "--trace-no-bodies")[0] == 0
        wrong = run("register", *server, "--trace", str(tmp_path / "wrong"), password="geheimnis")
        assert wrong[0] == 1 and "geheimnis" not in (tmp_path / "wrong").read_text()
    code, out, _ = run("trace", "replay", str(path))
    assert code == 0 and out.startswith("equal: ")
    assert not read_transcript(options.read_bytes()).header.bodies
    assert run("trace", "replay", str(tmp_path / "wrong"))[0] == 0


def test_an_agent_without_server_is_not_recorded(tmp_path: Path) -> None:
    code, _, errors = run("agent", "--trace", str(tmp_path / "x"))
    assert code == 1 and "--trace needs --server" in errors
