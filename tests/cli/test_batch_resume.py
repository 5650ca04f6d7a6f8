"""`specli batch` stopped and gone on with, and as a part of a pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from specli.batch.output import HELD_SUFFIX
from tests.cli.conftest import Specli
from tests.cli.test_batch import EXACT, PROMPTS, TARGET, prompts, records, texts

__all__ = ["prompts"]

FLAGS = [*TARGET, *EXACT, "--draft", "0"]
# The first answer never ends: what else there is finishes before it.
ENDLESS = ["-m", "long.gguf", "-c", "0", "--ignore-eos", "-np", "2", "--draft", "0"]


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def test_the_same_command_goes_on_and_computes_nothing_twice(
    specli: Specli, prompts: Path, answers: Path
) -> None:
    command = ["batch", str(prompts), *FLAGS, "-o", str(answers)]
    assert specli(*command).code == 0
    whole = answers.read_bytes()
    lines = whole.splitlines(keepends=True)
    answers.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    outcome = specli(*command)
    assert outcome.code == 0
    assert outcome.err.startswith("3 answered, 2 earlier, 72 tokens in ")
    assert answers.read_bytes().splitlines(keepends=True)[:2] == lines[:2]
    assert [(r["id"], r["text"]) for r in records(answers)] == [
        (r["id"], r["text"]) for r in map(json.loads, lines)
    ]
    assert specli(*command).err == "0 answered, 5 earlier\n"


def test_drafters_and_parallel_may_change_between_runs(
    specli: Specli, prompts: Path, answers: Path
) -> None:
    whole = prompts.read_text()
    prompts.write_text(whole[: whole.index("\n") + 1])
    command = ["batch", str(prompts), *TARGET, *EXACT, "-o", str(answers)]
    assert specli(*command, "--draft", "0").code == 0
    prompts.write_text(whole)
    assert specli(*command, "-md", "draft.gguf", "-np", "3").code == 0
    assert list(texts(answers)) == [str(number) for number in range(1, len(PROMPTS) + 1)]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--temp", "0.5"], "(temp: not set, now 0.5)"),
        (["-n", "25"], "(predict: 24, now 25)"),
        (["--system", "s"], '(system: not set, now "s")'),
        (["--top-k", "0"], "(top_k: not set, now 0)"),
        (["-m", "long.gguf"], '(model: "target.gguf", now "long.gguf"'),
    ],
)
def test_changed_settings_are_refused_unless_restarted(
    specli: Specli, prompts: Path, answers: Path, more: list[str], told: str
) -> None:
    command = ["batch", str(prompts), *FLAGS, "-o", str(answers)]
    assert specli(*command).code == 0
    before = answers.read_bytes()
    outcome = specli(*command, *more)
    assert outcome.code == 2
    assert told in outcome.err
    assert "hint: --restart" in outcome.err
    assert answers.read_bytes() == before
    assert specli(*command, *more, "--restart").code == 0
    assert len(texts(answers)) == len(PROMPTS)


def test_a_changed_prompt_under_an_old_id_is_refused(
    specli: Specli, prompts: Path, answers: Path
) -> None:
    command = ["batch", str(prompts), *FLAGS, "-o", str(answers)]
    assert specli(*command).code == 0
    prompts.write_text('{"prompt": "new"}\n' + prompts.read_text())
    outcome = specli(*command)
    assert outcome.code == 2
    assert f"{prompts}:1: the id '1' already has an answer" in outcome.err


def test_a_seed_that_was_drawn_is_kept(specli: Specli, prompts: Path, answers: Path) -> None:
    command = ["batch", str(prompts), *FLAGS, "--temp", "0.9", "-o", str(answers)]
    assert specli(*command).code == 0
    whole = texts(answers)
    lines = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(lines[0])
    assert specli(*command).code == 0
    assert texts(answers) == whole


def test_a_new_order_goes_on_with_records_that_wait(
    specli: Specli, prompts: Path, answers: Path
) -> None:
    command = ["batch", str(prompts), *FLAGS, "-o", str(answers)]
    assert specli(*command).code == 0
    first, second, third, *_others = answers.read_bytes().splitlines(keepends=True)
    held = answers.with_name(answers.name + HELD_SUFFIX)
    answers.write_bytes(first)
    held.write_bytes(third)
    assert specli(*command).err.startswith("3 answered, 2 earlier")
    assert records(answers)[1]["text"] == json.loads(second)["text"]
    assert answers.read_bytes().splitlines(keepends=True)[2] == third
    assert not held.exists()


Started = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def started(sealed: Path) -> Started:
    def started(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "specli", "batch", *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            # A shell's background job hands down that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_done_and_says_how_to_go_on(
    started: Started, tmp_path: Path, answers: Path, number: signal.Signals
) -> None:
    path = tmp_path / "prompts.jsonl"
    short = [{"prompt": f"number {n}", "max_tokens": 4} for n in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in [{"prompt": "a"}, *short]))
    command = [str(path), *ENDLESS, "-o", str(answers), "--restart"]
    held = answers.with_name(answers.name + HELD_SUFFIX)
    with started(*command) as process:
        while not held.exists() or held.read_bytes().count(b"\n") < len(short):
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert out == b""
    summary, told = err.decode().splitlines()
    assert summary.startswith("3 answered, ")
    again = " ".join(["specli batch", *command[:-1]])
    assert told == f"stopped by {number.name}; to resume: {again}"
    assert answers.read_bytes() == b""
    # Whoever goes on does not compute them again.
    assert list(texts(held)) == ["2", "3", "4"]


def test_a_pipe_is_answered_line_by_line(started: Started) -> None:
    with started("-", *TARGET, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, text in enumerate(PROMPTS, 1):
            process.stdin.write(text.encode() + b"\n")
            assert json.loads(process.stdout.readline())["id"] == str(number)
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_signal_is_heard_while_a_pipe_is_waited_for(started: Started) -> None:
    with started("-", *TARGET, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"one\n")
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
        told = process.stderr.read().decode().splitlines()
    assert told[0].startswith("1 answered")
    assert told[1].startswith("stopped by SIGTERM; with -o FILE ")


def test_strict_reads_a_pipe_twice(started: Started) -> None:
    with started("-", *TARGET, "--strict", stdin=subprocess.PIPE) as process:
        out, err = process.communicate(b"one\ntwo\n", timeout=60)
    assert process.returncode == 0, err
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["1", "2"]


def test_a_reader_that_goes_away_ends_it_quietly(started: Started, tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("hello\n" * 100_000)
    with started(str(path), *TARGET) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        os.read(process.stdout.fileno(), 100)
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    assert err == b""
    assert process.returncode == 1


def test_two_runs_do_not_write_one_file(
    started: Started, specli: Specli, prompts: Path, answers: Path
) -> None:
    with started("-", *TARGET, "-o", str(answers), stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        while not answers.exists() or not answers.read_bytes():
            assert process.poll() is None
        outcome = specli("batch", str(prompts), *TARGET, "-o", str(answers))
        assert outcome.code == 1
        assert "another specli batch is writing" in outcome.err
        process.stdin.close()
        assert process.wait(timeout=60) == 0
    assert list(texts(answers)) == ["1"]
