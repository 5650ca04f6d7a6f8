from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from specli.cli import models
from specli.errors import FetchError, UsageError
from specli.hub.download import pull
from specli.hub.huggingface import HubReference
from tests.hub.fake_hub import FakeHub

REPO = "someone/Tiny-GGUF"


@pytest.fixture(autouse=True)
def home(own_cache: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No models anywhere, and a terminal that is always the same."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return own_home


def run(*arguments: str, typed: str | None = None) -> Result:
    app = typer.Typer()
    app.add_typer(models.app, name="models")
    return CliRunner().invoke(app, ["models", *arguments], input=typed)


def _made(own_cache: Path, name: str = "tiny.F32-0123") -> Path:
    path = own_cache / "made" / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF" * 500)
    return path


def test_without_models_it_says_how_to_get_one() -> None:
    assert run().stdout.startswith("no models yet: specli pull")


def test_models_are_listed_with_size_and_keeper(own_cache: Path, home: Path) -> None:
    _made(own_cache)
    (home / "llama").mkdir(parents=True)
    (home / "llama" / "other-Q8_0.gguf").write_bytes(b"GGUF")
    lines = [line.split() for line in run().stdout.splitlines()]
    assert lines[1:3] == [
        ["other-Q8_0", "4", "B", "llama.cpp"],
        ["tiny.F32-0123", "1.95", "KiB", "specli"],
    ]
    assert lines[3][:2] == ["2", "models,"]


def test_unfinished_downloads_are_told_with_their_place(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"GGUF" * 500})
    hub.cuts = [0.5] * 10
    with pytest.raises(FetchError):
        pull([HubReference(REPO, "Q8_0")])
    said, place = run().stdout.splitlines()[-2:]
    assert said == "unfinished, 1000 B: pull again to finish, or remove"
    assert Path(place.strip()).stat().st_size == 1000


def test_json_gives_bytes_and_files(own_cache: Path) -> None:
    path = _made(own_cache)
    assert json.loads(run("--json").stdout) == {
        "models": [
            {"name": "tiny.F32-0123", "origin": "specli", "bytes": 2000, "files": [str(path)]}
        ]
    }


def test_other_folders_are_searched_when_named(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "mine.gguf").write_bytes(b"GGUF")
    assert "mine" in run("--dir", str(tmp_path / "extra")).stdout


@pytest.mark.parametrize(("typed", "stays"), [("y\n", False), ("n\n", True), ("\n", True)])
def test_removing_asks_first(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, typed: str, stays: bool
) -> None:
    path = _made(own_cache)
    monkeypatch.setattr("typer.testing._NamedTextIOWrapper.isatty", lambda _self: True)
    result = run("rm", "tiny.F32-0123", typed=typed)
    assert "Remove tiny.F32-0123 (1.95 KiB)?" in result.output
    assert path.exists() == stays


def test_without_a_terminal_removing_needs_yes(own_cache: Path) -> None:
    path = _made(own_cache)
    error = run("rm", "tiny.F32-0123").exception
    assert isinstance(error, UsageError)
    assert error.hint == "add --yes"
    assert path.exists()
    assert run("rm", "tiny.F32-0123", "--yes").exit_code == 0
    assert not path.exists()


def test_removing_from_the_hubs_cache_frees_the_content(hub: FakeHub) -> None:
    hub.add(REPO, {"Tiny-Q8_0.gguf": b"GGUF eight", "Tiny-Q4_0.gguf": b"GGUF four"})
    ((eight,), (four,)) = pull([HubReference(REPO, "Q8_0"), HubReference(REPO, "Q4_0")])
    content = eight.resolve()
    assert run("rm", f"hf:{REPO}/Tiny-Q8_0.gguf", "-y").exit_code == 0
    assert not eight.exists()
    assert not content.exists()
    assert four.read_bytes() == b"GGUF four"


def test_content_that_another_snapshot_uses_stays(hub: FakeHub) -> None:
    hub.add(REPO, {"a-Q8_0.gguf": b"GGUF same", "b-Q4_0.gguf": b"GGUF same"})
    ((first,), (second,)) = pull([HubReference(REPO, "Q8_0"), HubReference(REPO, "Q4_0")])
    assert first.resolve() == second.resolve()
    assert run("rm", f"hf:{REPO}/a-Q8_0.gguf", "-y").exit_code == 0
    assert not first.exists()
    assert second.read_bytes() == b"GGUF same"


def test_models_of_other_programs_are_left_to_them(home: Path) -> None:
    (home / "llama").mkdir(parents=True)
    path = home / "llama" / "other.gguf"
    path.write_bytes(b"GGUF")
    error = run("rm", "other", "-y").exception
    assert isinstance(error, UsageError)
    assert "llama.cpp" in error.message
    assert path.exists()


def test_a_name_that_is_not_here_removes_nothing(own_cache: Path) -> None:
    path = _made(own_cache)
    assert isinstance(run("rm", "tiny.F32-0123", "nothing", "-y").exception, UsageError)
    assert path.exists()
