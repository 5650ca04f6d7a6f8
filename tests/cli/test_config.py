"""`specli config`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from specli import config
from tests.cli.conftest import Specli


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "user_config_path", lambda *_args, **_more: tmp_path / "own")
    return tmp_path / "own" / "config.toml"


def test_path_names_the_file(specli: Specli, file: Path) -> None:
    assert specli("config", "path").out == f"{file}\n"


def test_a_default_that_was_set_is_used_and_shown_with_its_origin(
    specli: Specli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert specli("config", "set", "default.model", "target.gguf").err == f"wrote {file}\n"
    specli("config", "set", "predict", "3")
    monkeypatch.setenv("LLAMA_ARG_TOP_K", "7")
    monkeypatch.setenv("SPECLI_TEMP", "0.5")
    assert specli("config", "show").out == (
        'model = "target.gguf"\npredict = 3\ntemp = 0.5\ntop_k = 7\n'
    )
    lines = specli("config", "show", "--origin").out.splitlines()
    assert [line.split("# ")[1] for line in lines] == [
        str(file),
        str(file),
        "environment SPECLI_TEMP",
        "environment LLAMA_ARG_TOP_K",
    ]
    done = specli("run", "--json", "--temp", "0", "hello")
    assert done.code == 0, done.err
    assert '"predicted_n": 3' in done.out
    assert '"temp": 0.0' in done.out


def test_settings_of_the_profile_are_shown_with_its_name(specli: Specli, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("name: mine\ndescription: x\ntarget: target.gguf\ndefaults: {temp: 0.3}\n")
    specli("config", "set", "default.profile", str(profile))
    specli("config", "set", "temp", "0.9")
    shown = specli("config", "show", "--origin").out.splitlines()
    (line,) = [one for one in shown if one.startswith("temp")]
    assert line.startswith("temp = 0.3 ")
    assert line.endswith("# profile mine")


def test_unset_takes_a_default_back(specli: Specli, file: Path) -> None:
    specli("config", "set", "temp", "0.9")
    assert specli("config", "unset", "temp").code == 0
    assert specli("config", "show").out == ""
    assert specli("config", "unset", "temp").err.startswith(f"error: {file} does not set temp")


def test_a_profile_that_does_not_exist_is_not_set(specli: Specli, file: Path) -> None:
    done = specli("config", "set", "default.profile", "smolm2")
    assert done.code == 2
    assert "did you mean smollm2?" in done.err
    assert not file.exists()


def test_edit_opens_the_file_and_checks_it(
    specli: Specli, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "an editor.py"
    editor.write_text("import sys; open(sys.argv[1], 'a').write('tmep = 1\\n')")
    monkeypatch.setenv("EDITOR", f"{sys.executable} '{editor}'")
    monkeypatch.delenv("VISUAL", raising=False)
    done = specli("config", "edit")
    assert done.code == 2
    assert "unknown key default.tmep" in done.err
    assert "did you mean temp?" in done.err
    assert file.read_text().startswith("# Defaults of specli")


@pytest.mark.parametrize(
    ("editor", "told"),
    [("", "no editor is set"), ("no-such-editor", "cannot be started"), ("false", "with code 1")],
)
def test_an_editor_that_does_not_work_is_told(
    specli: Specli, monkeypatch: pytest.MonkeyPatch, editor: str, told: str
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", editor)
    done = specli("config", "edit")
    assert done.code == 2
    assert told in done.err


def test_a_mistake_in_the_file_stops_every_command_that_reads_it(
    specli: Specli, file: Path
) -> None:
    file.parent.mkdir()
    file.write_text("[default]\ntemp = 'x'\n")
    done = specli("run", "-m", "target.gguf", "hello")
    assert done.code == 2
    assert str(file) in done.err
    assert specli("config", "path").code == 0
