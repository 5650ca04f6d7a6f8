"""The command where its streams, its folder or its names are not what it expects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from specli.cli.output import Sink
from tests import tiny_gguf as tiny
from tests.cli.conftest import Outcome, Specli

SPECLI = f"{sys.executable} -m specli"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


def shell(line: str, folder: Path) -> Outcome:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "SPECLI_DEBUG": ""}
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=60,
    )
    assert "fault of specli" not in done.stderr
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_closed_stdin_is_no_prompt(sealed: Path) -> None:
    outcome = shell(f"{SPECLI} run <&-", sealed)
    assert outcome.code == 2
    assert "no prompt" in outcome.err


def test_a_closed_stderr_sends_nothing_to_stdout(sealed: Path) -> None:
    outcome = shell(f"{SPECLI} profile show nothing-like-it 2>&-", sealed)
    assert (outcome.code, outcome.out) == (2, "")


@pytest.mark.parametrize("to", [">&-", "> /dev/full"])
def test_a_result_that_cannot_be_written_is_an_error(sealed: Path, to: str) -> None:
    outcome = shell(f"{SPECLI} profile list {to}", sealed)
    assert outcome.code == 1
    assert "error: the system refused it: " in outcome.err


def test_a_reader_that_leaves_is_no_error_to_talk_about(sealed: Path) -> None:
    outcome = shell(f"({SPECLI} profile list; echo $? >&2) | true", sealed)
    assert outcome.err.strip() in ("0", "1")


def test_a_folder_that_is_gone_is_named(sealed: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    outcome = shell(f"cd {gone} && rmdir {gone} && {SPECLI} inspect nothing.gguf", sealed)
    assert outcome.code == 1
    assert "the current folder no longer exists" in outcome.err


def test_a_model_whose_name_is_not_utf_8_is_a_model(sealed: Path, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"caf\xe9.gguf")
    try:
        name.write_bytes((sealed / "target.gguf").read_bytes())
    except OSError:
        pytest.skip("names are Unicode here")
    flags = "-n 2 --ignore-eos --no-draft -q hello"
    outcome = shell(f"{SPECLI} run -m {tmp_path}/caf*.gguf {flags}", sealed)
    assert outcome.code == 0, outcome.err
    outcome = shell(f"{SPECLI} run -m {tmp_path}/caf*.gguf --json {flags}", sealed)
    assert outcome.code == 0, outcome.err
    assert "caf\\udce9.gguf" in outcome.out
    missing = shell(f"{SPECLI} inspect $(printf 'caf\\351').gguf", sealed)
    assert missing.code == 1


def test_nothing_in_a_model_file_controls_the_terminal(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "red.gguf"
    content = tiny.llama_bytes()
    # The name keeps its length, so that all offsets stay right.
    assert b"tiny" in content
    path.write_bytes(content.replace(b"tiny", b"\x1b[2J", 1))
    outcome = specli("inspect", str(path))
    assert "\x1b" not in outcome.out + outcome.err
    assert "\N{SYMBOL FOR ESCAPE}[2J" in outcome.out


def test_a_sentence_is_broken_between_words_on_a_terminal_and_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = "draft 4 is 1.52× as fast as plain decoding over 14 passes, and so on"
    Sink().say(text)
    assert capsys.readouterr().out == text + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Sink().say(text)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == text
