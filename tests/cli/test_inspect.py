from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from specli.cli.inspect import inspect
from specli.errors import ModelFileError
from tests import tiny_gguf as tiny
from tests import tiny_heads, tiny_mtp


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(inspect)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_person_sees_what_the_model_is(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", tiny.gemma3_bytes())
    result = run(path)
    assert result.exit_code == 0
    rows = {line[:15].strip(): line[15:].strip() for line in result.stdout.splitlines()}
    assert rows["architecture"] == "gemma3"
    assert rows["parameters"] == "39.2K"
    assert rows["quantisation"] == "F32"
    assert rows["layers"] == "2, embedding 32"
    assert "sliding window of 16 tokens" in rows["attention"]
    assert rows["context"] == "256 tokens in training"
    assert rows["vocabulary"] == "320 tokens, BPE, pre-tokenizer gpt-2"
    assert rows["BOS"] == "1 '<|im_start|>'"
    assert rows["ends"] == "0 '<|endoftext|>', 2 '<|im_end|>'"
    assert rows["chat template"].startswith("yes")
    assert rows["KV cache"] == "128 B per token (f16)"
    assert "at 256 tokens" in rows["memory"]


def test_a_recurrent_model_is_told_apart(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", tiny.mamba_bytes(tiny.spm_vocabulary()))
    shown = run(path).stdout
    assert "recurrent state of 5.5 KiB" in shown
    assert "1 '<s>', added to prompts" in shown


def test_json_holds_the_same_facts(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes())
    told = json.loads(run(path, "--json", "-c", "100").stdout)
    assert told["architecture"] == "llama"
    assert told["bytes"] == path.stat().st_size
    assert told["tokenizer"]["size"] == 320
    assert told["tokenizer"]["ends"] == [0, 2]
    assert told["kv_bytes_per_token"] == 128
    assert told["memory"]["context"] == 100
    assert told["memory"]["cache"] == 12800


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    broken = tiny.write(tmp_path / "broken.gguf", tiny.llama_bytes()[:5000])
    assert isinstance(run(broken).exception, ModelFileError)


def test_a_head_says_for_which_target_it_was_made(tmp_path: Path) -> None:
    head = tiny_heads.eagle3_head(draft_vocabulary=tiny_heads.CYCLE[:32])
    path = tiny.write(tmp_path / "head.gguf", head.bytes())
    rows = {line[:15].strip(): line[15:].strip() for line in run(path).stdout.splitlines()}
    assert rows["head"].startswith("draft-eagle3, 1 layer, ")
    assert rows["head"].endswith("reads layers 1, 2, 3")
    assert rows["made for"] == "a target of hidden size 128 and 320 tokens"
    assert rows["proposes"] == "32 of 320 tokens (10 %)"
    assert json.loads(run(path, "--json").stdout)["head"]["target_layers"] == [1, 2, 3]


def test_mtp_layers_in_a_target_are_shown_with_their_size(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "target.gguf", tiny_mtp.glm4moe().bytes())
    shown = run(path).stdout
    assert "draft-mtp, 1 layer, 565 KiB: one, used at every draft step" in shown
    assert json.loads(run(path, "--json").stdout)["mtp"]["layers"] == 1
