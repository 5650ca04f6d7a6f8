"""`specli run` with draft heads: which one it takes, and what it says of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_gguf as tiny
from tests import tiny_heads, tiny_mtp
from tests.cli.conftest import Specli
from tests.tiny_heads import Automaton

TABLE = Automaton()
SETTINGS = ["--raw", "--ignore-eos", "-n", "24", "-c", "128", "-t", "1", "--draft", "3"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    tiny.write(folder / "llama.gguf", tiny_heads.llama_target(TABLE).bytes())
    tiny.write(folder / "eagle.gguf", tiny_heads.eagle3_head(TABLE).bytes())
    tiny.write(folder / "glm.gguf", tiny_mtp.glm4moe(TABLE, [TABLE]).bytes())
    (folder / "pair.yaml").write_text(
        f"name: pair\ndescription: a target and its head\ntarget: {folder}/llama.gguf\n"
        f"draft: {folder}/eagle.gguf\n"
    )
    return folder


def told(specli: Specli, *arguments: str | Path) -> tuple[dict[str, Any], str]:
    """What --json tells of a run, and what was said beside it."""
    outcome = specli("run", "--json", *SETTINGS, *map(str, arguments), "hello")
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found, outcome.err


def drafted(found: dict[str, Any]) -> dict[str, int]:
    by_drafter = found["speculation"]["by_drafter"]
    return {name: counts["accepted"] for name, counts in by_drafter.items()}


def test_mtp_layers_in_the_targets_file_draft_unless_told_otherwise(
    specli: Specli, heads: Path
) -> None:
    own, said = told(specli, "-m", heads / "glm.gguf")
    assert "drafting with glm.gguf's own MTP layers" in said
    assert "--no-mtp leaves them out" in said
    assert drafted(own)["mtp"] > 10
    assert own["settings"]["draft"] == 3
    for leaving in ("--no-mtp", "--no-draft"):
        without, said = told(specli, "-m", heads / "glm.gguf", leaving)
        assert "MTP" not in said
        assert drafted(without) == {}
        assert without["text"] == own["text"]


def test_a_head_is_known_by_its_header_also_in_a_profile(specli: Specli, heads: Path) -> None:
    given, said = told(specli, "-m", heads / "llama.gguf", "-md", heads / "eagle.gguf")
    assert "eagle.gguf is a head: drafting with eagle3" in said
    assert drafted(given)["eagle3"] > 10
    assert told(specli, "--profile", heads / "pair.yaml")[0]["text"] == given["text"]
    assert drafted(told(specli, "--profile", heads / "pair.yaml")[0]) == drafted(given)


def test_a_head_of_another_kind_than_was_asked_for_is_refused(specli: Specli, heads: Path) -> None:
    files = ["-m", str(heads / "llama.gguf"), "-md", str(heads / "eagle.gguf")]
    outcome = specli("run", *SETTINGS, *files, "--spec-type", "draft-dflash", "hello")
    assert outcome.code != 0
    assert "eagle.gguf is a head for draft-eagle3" in outcome.err
