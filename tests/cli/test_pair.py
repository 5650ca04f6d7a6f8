from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from specli.cli import failures, pair
from specli.errors import ModelFileError, UsageError
from tests import tiny_gguf as tiny
from tests import tiny_heads
from tests.tiny_gguf import Vocabulary

BPE = tiny.bpe_vocabulary()
LARGE = tiny.Shape(layers=4, n_embd=128, n_ff=512)


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.add_typer(pair.app, name="pair")
    return CliRunner().invoke(app, ["pair", "check", *map(str, arguments)])


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "target.gguf", tiny.llama_bytes(shape=LARGE))


def draft(directory: Path, vocabulary: Vocabulary = BPE, name: str = "draft.gguf") -> Path:
    return tiny.write(directory / name, tiny.llama_bytes(vocabulary))


def test_a_pair_that_works_is_compatible_without_a_promised_speedup(
    target: Path, tmp_path: Path
) -> None:
    result = run(target, draft(tmp_path))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.split()[:3] == ["pass", "token", "texts"] for line in lines)
    assert lines[0].startswith("Compatible: ")
    assert "cost per token" in " ".join(lines[:2])
    assert "×" not in result.stdout
    assert "How often a draft is right cannot be read" in result.stdout


def test_a_head_is_checked_by_the_rules_for_heads(tmp_path: Path) -> None:
    target = tiny.write(tmp_path / "target.gguf", tiny_heads.llama_target().bytes())
    head = tiny.write(tmp_path / "head.gguf", tiny_heads.eagle3_head().bytes())
    other = tiny_heads.eagle3_head(target_width=64)
    foreign = tiny.write(tmp_path / "other.gguf", other.bytes())

    assert run(target, head).exit_code == 0
    refused = run(target, foreign)
    assert refused.exit_code == 3
    said = "this head was made for a hidden size of 64; the target has 128"
    assert said in refused.stdout


def test_a_draft_of_another_vocabulary_is_mapped_and_its_rule_names_id_and_strings(
    target: Path, tmp_path: Path
) -> None:
    result = run(target, draft(tmp_path, BPE.with_token(139, b"other")))
    assert result.exit_code == 0
    failed = [line for line in result.stdout.splitlines() if line.strip().startswith("map ")]
    assert len(failed) == 1
    assert "token texts" in failed[0]
    assert "token 139 is" in failed[0]
    assert "'other' in the draft" in failed[0]
    assert "Mapped:" in result.stdout


def test_a_strict_vocabulary_refuses_what_could_be_mapped(target: Path, tmp_path: Path) -> None:
    other = draft(tmp_path, BPE.with_token(139, b"other"))
    result = run(target, other, "--strict-vocab")
    assert result.exit_code == 3
    assert result.stdout.startswith("Incompatible:")
    assert any(
        line.split()[:3] == ["FAIL", "token", "texts"] for line in result.stdout.splitlines()
    )
    assert run(target, other, other, "--strict-vocab").exit_code == 3


def test_a_draft_as_large_as_the_target_is_not_recommended(target: Path) -> None:
    result = run(target, target)
    assert result.exit_code == 0
    assert "not small enough" in result.stdout


def test_json_holds_the_rules_the_difference_and_the_numbers(target: Path, tmp_path: Path) -> None:
    result = run(target, draft(tmp_path, BPE.with_token(139, b"other")), "--json", "-c", "200")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    (found,) = told["drafts"]
    for verdict in (told, found):
        assert (verdict["verdict"], verdict["compatible"], verdict["mapped"]) == (
            *("mapped", True, True),
        )
    assert found["context"] == 200
    failed = [rule for rule in found["rules"] if rule["verdict"] == "fail"]
    assert [rule["rule"] for rule in failed] == ["token texts"]
    assert failed[0]["difference"] == {
        "token": 139,
        "target": repr(BPE.tokens[139].decode()),
        "draft": "'other'",
        "count": 1,
    }
    memory = found["memory"]["target"]
    assert memory["total"] == memory["weights"] + memory["cache"] + memory["scratch"]
    assert found["cost_ratio"] > 1


def test_several_drafts_are_ranked_and_broken_ones_left_out(target: Path, tmp_path: Path) -> None:
    drafts = [
        draft(tmp_path, BPE.with_token(139, b"other"), "wrong.gguf"),
        draft(tmp_path, replace(BPE, pre="qwen2"), "right.gguf"),
        tiny.write(tmp_path / "broken.gguf", b"GGUF"),
    ]
    result = run(target, *drafts, "--json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert [Path(found["draft"]).name for found in told["drafts"]] == ["right.gguf", "wrong.gguf"]
    assert len(told["unreadable"]) == 1
    assert "broken.gguf" in told["unreadable"][0]
    shown = run(target, *drafts)
    assert shown.exit_code == 0
    assert "skipped:" in shown.stdout
    assert "right.gguf can draft for" in shown.stdout


def test_a_file_that_cannot_be_read_is_an_error_and_not_a_verdict(
    target: Path, tmp_path: Path
) -> None:
    result = run(target, tmp_path / "missing.gguf")
    assert isinstance(result.exception, ModelFileError)
    assert "missing.gguf" in result.exception.message
    assert isinstance(run(tmp_path / "missing.gguf", target).exception, ModelFileError)
    broken = tiny.write(tmp_path / "broken.gguf", b"GGUF")
    assert isinstance(run(target, broken, broken).exception, ModelFileError)


@pytest.mark.parametrize("damage", ["cut header", "cut weights", "wild length", "another format"])
def test_a_damaged_file_ends_the_command_with_code_1_and_one_sentence(
    damage: str, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(tiny.llama_bytes())
    match damage:
        case "cut header":
            del content[3000:]
        case "cut weights":
            del content[-64:]
        case "wild length":
            content[24:32] = b"\xff" * 8
        case _:
            content[:4] = b"PK\x03\x04"
    broken = tiny.write(tmp_path / "broken.gguf", bytes(content))
    app = typer.Typer()
    app.add_typer(pair.app, name="pair")
    arguments = ["pair", "check", str(target), str(broken)]
    assert failures.guarded(lambda: app(arguments, prog_name="specli")) == 1
    told = capsys.readouterr()
    assert told.out == ""
    error, hint = told.err.splitlines()
    assert error.startswith("error: ")
    assert "broken.gguf" in error
    assert hint.startswith("hint: ")


def test_a_cache_type_that_does_not_exist_is_wrong_usage(target: Path) -> None:
    assert isinstance(run(target, target, "-ctk", "q9").exception, UsageError)


def test_smaller_cache_types_are_counted(target: Path) -> None:
    def cache(*flags: str) -> int:
        told = json.loads(run(target, target, "--json", "-c", "200", *flags).stdout)
        size = told["drafts"][0]["memory"]["target"]["cache"]
        assert isinstance(size, int)
        return size

    assert cache("-ctk", "q8_0", "-ctv", "q8_0") == cache() * 34 // 64
    assert cache("-ctkd", "q8_0") == cache()


def test_a_file_name_that_looks_like_markup_is_printed_as_it_is(
    target: Path, tmp_path: Path
) -> None:
    result = run(target, draft(tmp_path, name="[bold]draft.gguf"))
    assert "[bold]draft.gguf" in result.stdout
