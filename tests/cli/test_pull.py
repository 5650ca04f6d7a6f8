from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from specli.cli import pull as pull_commands
from specli.errors import FetchError, ModelFileError, UsageError
from tests.hub.fake_hub import FakeHub
from tests.hub.index import FakeIndex
from tests.tiny_gguf import llama_bytes

REPO = "someone/Tiny-GGUF"


def run(command: str, *arguments: str) -> Result:
    app = typer.Typer()
    app.command("pull")(pull_commands.pull)
    app.command("pair-pull")(pull_commands.pull_pair)
    return CliRunner().invoke(app, [command, *arguments])


def test_models_from_anywhere_are_pulled_and_their_places_printed_in_order(
    hub: FakeHub, index: FakeIndex, tmp_path: Path
) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"eight", "Tiny-Q4_K_M.gguf": b"four"})
    index.add("llm-tiny", "1.0", {"packed.gguf": b"packed"})
    here = tmp_path / "here.gguf"
    here.write_bytes(b"here")
    references = [f"{REPO}:Q8_0", "package:llm-tiny==1.0", str(here), f"hf:{REPO}"]
    result = run("pull", *references)
    assert result.exit_code == 0
    contents = [Path(line).read_bytes() for line in result.stdout.splitlines()]
    assert contents == [b"eight", b"packed", b"here", b"four"]


def test_without_a_terminal_each_file_is_a_line_on_stderr(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"eight"})
    said = run("pull", f"{REPO}:Q8_0").stderr.splitlines()
    assert said[0] == f"downloading {REPO}/Tiny-Q8_0.gguf"
    assert run("pull", f"{REPO}:Q8_0", "--quiet").stderr == ""


def test_pulling_again_takes_what_is_new_on_the_hub(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"old"})
    run("pull", REPO)
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"new"})
    assert Path(run("pull", REPO).stdout.strip()).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("reference", "error"),
    [
        (f"{REPO}:Q8_0", FetchError),
        ("package:llm-tiny", UsageError),
        ("missing.gguf", ModelFileError),
        ("nothing like it", UsageError),
    ],
)
def test_what_cannot_be_pulled_is_an_error(
    hub: FakeHub, reference: str, error: type[Exception]
) -> None:
    assert isinstance(run("pull", reference).exception, error)


def test_both_models_of_a_pair_are_pulled_and_made(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.add(REPO, {"Tiny-F32.gguf": llama_bytes()})
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text(
        f"name: mine\ndescription: A pair\ntarget: hf:{REPO}/Tiny-F32.gguf\n"
        f"draft: {{from: 'hf:{REPO}/Tiny-F32.gguf', type: Q8_0}}\n"
    )
    result = run("pair-pull", "mine")
    assert result.exit_code == 0, result.exception
    target, draft = map(Path, result.stdout.splitlines())
    assert target.read_bytes() == llama_bytes()
    assert draft.name.startswith("Tiny.Q8_0-")
    assert draft.stat().st_size < target.stat().st_size
    assert "specli run --profile mine" in result.stderr
    assert len(hub.contents()) == 1


def test_a_pair_that_no_profile_describes_is_an_error(own_cache: Path) -> None:
    assert isinstance(run("pair-pull", "no-such-pair").exception, UsageError)
