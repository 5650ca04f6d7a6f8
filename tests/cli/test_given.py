"""The environment sets options: specli's own variables before llama.cpp's, flags before both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from specli.cli.given import from_environment, from_flags, llama_variables
from specli.errors import UsageError
from specli.option_table import OPTIONS
from specli.options import Options


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.startswith(("SPECLI_", "LLAMA_ARG_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("SPECLI_TEMP", "0.5", "temp", 0.5),
        ("SPECLI_DRAFT_MAX", "auto", "draft_max", "auto"),
        ("SPECLI_STOP", "a,b", "stop", ("a,b",)),
        ("SPECLI_RAW", "on", "raw", True),
        ("SPECLI_RAW", "FALSE", "raw", False),
        ("SPECLI_PREDICTION", "a.txt", "prediction", Path("a.txt")),
        ("SPECLI_PROFILE", "mine", "profile", "mine"),
        ("LLAMA_ARG_MODEL", "m.gguf", "model", "m.gguf"),
        ("LLAMA_ARG_HF_REPO", "a/b:Q4_0", "model", "hf:a/b:Q4_0"),
        ("LLAMA_ARG_SPEC_DRAFT_MODEL", "d.gguf", "model_draft", "d.gguf"),
        ("LLAMA_ARG_SPEC_DRAFT_N_MAX", "3", "draft_max", 3),
        ("LLAMA_ARG_N_GPU_LAYERS", "all", "gpu_layers", "all"),
        ("LLAMA_ARG_CTX_SIZE", "64", "ctx_size", 64),
        ("LLAMA_ARG_TEMPERATURE", "0.1", "temp", 0.1),
    ],
)
def test_a_variable_sets_its_option(
    variable: str, text: str, option: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert from_environment(OPTIONS) == Options(**{option: value})


def test_specli_s_own_variable_goes_before_llama_cpp_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_ARG_THREADS", "3")
    monkeypatch.setenv("SPECLI_THREADS", "2")
    assert from_environment(OPTIONS) == Options(threads=2)


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECLI_TEMP", "1")
    monkeypatch.setenv("SPECLI_JSON_SCHEMA", "{}")
    given = from_flags({"grammar": "root ::= x"}).over(from_environment(OPTIONS).given())
    assert given == Options(grammar="root ::= x", temp=1.0)


@pytest.mark.parametrize(
    ("variable", "text"),
    [("SPECLI_TEMP", "warm"), ("LLAMA_ARG_CTX_SIZE", "x"), ("SPECLI_RAW", "y")],
)
def test_a_wrong_value_names_its_variable(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(UsageError, match=f"^{variable}: .*'{text}'"):
        from_environment(OPTIONS)


def test_only_options_of_the_command_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECLI_TEMP", "warm")
    assert from_environment(["model"]) == Options()


def test_every_variable_of_llama_cpp_belongs_to_one_option() -> None:
    every = [name for names in llama_variables().values() for name in names]
    assert len({*every}) == len(every) > 25


def test_offline_is_what_huggingface_hub_and_pip_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    from_flags({"offline": True})
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["PIP_NO_INDEX"] == "1"


def test_the_system_message_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Be brief.")
    assert from_flags({"system_file": tmp_path / "system.txt"}) == Options(system="Be brief.")
