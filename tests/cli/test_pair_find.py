from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from specli.cli import pair
from specli.errors import ModelFileError
from specli.hub.references import fetch
from specli.hub.remote import FIRST_BYTES
from tests import tiny_gguf as tiny
from tests import tiny_heads, tiny_mtp
from tests.hub.fake_hub import FakeHub
from tests.tiny_gguf import Shape, Vocabulary

BPE = tiny.bpe_vocabulary()
LARGE = Shape(layers=4, n_embd=128, n_ff=512)
NEARLY = Shape(layers=4, n_embd=128, n_ff=448)
MIDDLE = Shape(layers=2, n_embd=64, n_ff=256)
FOREIGN = BPE.with_token(139, b"other")
REPO = "someone/Zebra-Tiny-GGUF"
FILE = "Zebra-Tiny-F32.gguf"
PROFILE = f"""\
name: zebra-tiny
description: A target that is not here, and its draft
target: hf:someone/Zebra-Large-GGUF/Zebra-Large-F32.gguf
draft: hf:{REPO}/{FILE}
"""


def model(vocabulary: Vocabulary = BPE, shape: Shape | None = None) -> bytes:
    named = {"general.name": "Zebra"}
    return tiny.llama_bytes(vocabulary, shape=shape or Shape(), extra=named)


@pytest.fixture
def here(own_cache: Path, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that holds the target alone, on a machine without other models."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    folder = tmp_path / "work"
    (folder / "profiles").mkdir(parents=True)
    monkeypatch.chdir(folder)
    tiny.write(folder / "target.gguf", model(shape=LARGE))
    return folder


def find(*arguments: str) -> Result:
    app = typer.Typer()
    app.add_typer(pair.app, name="pair")
    return CliRunner().invoke(app, ["pair", "find", *arguments])


def test_drafts_of_a_folder_are_ranked_and_the_best_ones_command_is_last(here: Path) -> None:
    drafts = here / "my drafts"
    drafts.mkdir()
    tiny.write(drafts / "middle.gguf", model(shape=MIDDLE))
    tiny.write(drafts / "small.gguf", model())
    tiny.write(drafts / "foreign.gguf", model(FOREIGN))
    tiny.write(drafts / "larger.gguf", model(shape=LARGE))
    result = find("target.gguf", "--dir", str(drafts))
    assert result.exit_code == 0, result.exception
    lines = result.stdout.splitlines()
    ranked = [line.split()[-1] for line in lines if line.startswith((" pass", " warn", " map"))]
    assert ranked == ["small", "middle", "foreign"]
    assert "skipped: 1 not smaller than the target" in lines
    assert shlex.split(lines[-1]) == [
        *("specli", "run", "-m", "target.gguf"),
        *("-md", str(drafts / "small.gguf"), "Why is the sky blue?"),
    ]
    strict = find("target.gguf", "--dir", str(drafts), "--strict-vocab").stdout.splitlines()
    assert "skipped: 1 of another vocabulary, 1 not smaller than the target" in strict


def test_where_only_another_vocabulary_is_found_it_is_offered_by_translation(here: Path) -> None:
    tiny.write(here / "foreign.gguf", model(FOREIGN))
    result = find("target.gguf", "--dir", ".")
    assert result.exit_code == 0
    assert "drafting by translation" in result.stdout
    assert "-md foreign.gguf" in result.stdout.splitlines()[-1]
    assert find("target.gguf", "--dir", ".", "--strict-vocab").exit_code == 3


def test_json_holds_every_draft_and_the_command(here: Path) -> None:
    tiny.write(here / "small.gguf", model())
    tiny.write(here / "foreign.gguf", model(FOREIGN))
    tiny.write(here / "broken.gguf", model()[:3000])
    result = find("target.gguf", "--dir", ".", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told.keys() == {"target", "drafts", "passed_over", "unreadable", "command"}
    draft, foreign = told["drafts"]
    assert foreign["verdict"] == "mapped"
    assert (draft["name"], draft["origin"]) == ("small", "folder")
    assert draft["bytes"] == (here / "small.gguf").stat().st_size
    assert draft["compatible"] is True
    assert draft["cost_ratio"] > 1
    assert told["passed_over"] == {"other_vocabulary": 0, "other_target": 0, "not_smaller": 1}
    assert len(told["unreadable"]) == 1
    assert "broken.gguf" in told["unreadable"][0]
    assert "-md small.gguf" in told["command"]


def test_models_that_other_programs_keep_are_found(here: Path, own_home: Path) -> None:
    kept = own_home / ".lmstudio" / "models" / "someone" / "zebra"
    kept.mkdir(parents=True)
    tiny.write(kept / "small.gguf", model())
    told = json.loads(find("target.gguf", "--json").stdout)
    assert [draft["origin"] for draft in told["drafts"]] == ["lmstudio"]
    assert str(kept / "small.gguf") in told["command"]


def test_the_catalogue_is_asked_for_its_headers_only(here: Path, hub: FakeHub) -> None:
    draft = model(shape=Shape(layers=1, n_embd=64, n_ff=2048))
    assert len(draft) > FIRST_BYTES
    tiny.write(here / "target.gguf", model(shape=Shape(layers=4, n_embd=128, n_ff=2048)))
    hub.add(REPO, {FILE: draft})
    (here / "profiles" / "zebra-tiny.yaml").write_text(PROFILE)
    result = find("target.gguf")
    assert result.exit_code == 0, result.exception
    assert "to download" in result.stdout
    assert f"-md hf:{REPO}/{FILE}" in result.stdout.splitlines()[-1]
    assert [request.range for request in hub.contents()] == [f"bytes=0-{FIRST_BYTES - 1}"]


def test_profiles_of_another_family_are_not_asked(here: Path, hub: FakeHub) -> None:
    hub.add(REPO, {FILE: model()})
    (here / "profiles" / "horse-tiny.yaml").write_text(PROFILE.replace("zebra", "horse"))
    assert find("target.gguf").exit_code == 3
    assert hub.requests == []


def test_a_draft_that_is_here_is_preferred_to_the_same_from_the_catalogue(
    here: Path, hub: FakeHub
) -> None:
    hub.add(REPO, {FILE: model()})
    (here / "profiles" / "zebra-tiny.yaml").write_text(PROFILE)
    tiny.write(here / "small.gguf", model())
    told = json.loads(find("target.gguf", "--dir", ".", "--json").stdout)
    assert [draft["origin"] for draft in told["drafts"]] == ["folder", "catalogue"]


def test_a_draft_of_the_catalogue_that_was_pulled_is_listed_once(here: Path, hub: FakeHub) -> None:
    hub.add(REPO, {FILE: model()})
    (here / "profiles" / "zebra-tiny.yaml").write_text(PROFILE)
    fetch(f"hf:{REPO}/{FILE}")
    hub.requests.clear()
    told = json.loads(find("target.gguf", "--json").stdout)
    (draft,) = told["drafts"]
    assert (draft["origin"], draft["reference"]) == ("huggingface", f"hf:{REPO}/{FILE}")
    assert hub.requests == []


def test_a_catalogue_out_of_reach_is_told_and_what_is_here_still_ranked(
    here: Path, hub: FakeHub
) -> None:
    hub.status = 503
    (here / "profiles" / "zebra-tiny.yaml").write_text(PROFILE)
    tiny.write(here / "small.gguf", model())
    result = find("target.gguf", "--dir", ".")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"skipped: the Hub answered 503 for hf:{REPO}/{FILE}")
    assert "-md small.gguf" in result.stdout.splitlines()[-1]


def test_nothing_that_fits_is_said_plainly_with_what_to_do(here: Path) -> None:
    tiny.write(here / "larger.gguf", model(shape=LARGE))
    result = find("target.gguf", "--dir", ".")
    assert result.exit_code == 3
    assert "Nothing here or in the catalogue can draft for target.gguf." in result.stdout
    assert "specli pair check target.gguf DRAFT" in result.stdout
    assert "specli run -m target.gguf 'Why is the sky blue?'" in result.stdout
    told = json.loads(find("target.gguf", "--dir", ".", "--json").stdout)
    assert (told["drafts"], told["command"]) == ([], None)


def test_a_draft_that_is_hardly_smaller_is_not_recommended(here: Path) -> None:
    tiny.write(here / "nearly.gguf", model(shape=NEARLY))
    result = find("target.gguf", "--dir", ".")
    assert result.exit_code == 0
    assert "small enough to pay" in result.stdout
    assert "-md" not in result.stdout.splitlines()[-1]


def test_a_head_beside_the_target_comes_before_smaller_drafts(here: Path) -> None:
    tiny.write(here / "target.gguf", tiny_heads.llama_target().bytes())
    tiny.write(here / "eagle3-target.gguf", tiny_heads.eagle3_head().bytes())
    tiny.write(here / "eagle3-other.gguf", tiny_heads.eagle3_head(target_width=64).bytes())
    (here / "drafts").mkdir()
    tiny.write(here / "drafts" / "small.gguf", model(shape=Shape(layers=1, n_embd=32)))

    result = find("target.gguf", "--dir", "drafts")

    assert result.exit_code == 0, result.exception
    assert "a head for draft-eagle3" in result.stdout
    assert "skipped: 1 heads for other targets" in result.stdout
    assert "-md eagle3-target.gguf" in result.stdout.splitlines()[-1]


def test_a_head_in_the_targets_repository_is_found_by_its_published_name(
    here: Path, hub: FakeHub
) -> None:
    target, head = "Zebra-Q8_0.gguf", "mtp-Zebra-Q8_0.gguf"
    whole = tiny_mtp.glm4moe()
    files = {
        target: tiny_mtp.without_heads(whole).bytes(),
        head: tiny_mtp.head_only(whole).bytes(),
    }
    hub.add(REPO, files)

    told = json.loads(find(f"hf:{REPO}:Q8_0", "--json").stdout)

    (found,) = told["drafts"]
    assert (found["reference"], found["origin"]) == (f"hf:{REPO}/{head}", "repository")
    assert found["head"]["kind"] == "draft-mtp"


def test_a_target_with_mtp_layers_needs_no_draft(here: Path) -> None:
    tiny.write(here / "target.gguf", tiny_mtp.glm4moe().bytes())

    result = find("target.gguf")

    assert result.exit_code == 0
    assert "target.gguf drafts with its own MTP layers (draft-mtp, 1 layer, " in result.stdout
    assert "-md" not in result.stdout.splitlines()[-1]


def test_a_target_that_is_not_there_is_an_error(here: Path) -> None:
    assert isinstance(find("targt.gguf").exception, ModelFileError)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_rows_keep_to_the_width_of_the_terminal(
    here: Path, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "a-model-of-a-rather-long-name-Instruct-Q4_K_M"
    tiny.write(here / f"{name}.gguf", model())
    result = find("target.gguf", "--dir", ".")
    assert "\x1b" not in result.stdout
    table = result.stdout.partition("skipped:")[0].splitlines()
    assert max(map(len, table)) <= columns
    # However it is folded, every letter of the name is there.
    start = table[0].index("draft")
    assert name in "".join(line[start:].strip() for line in table)
