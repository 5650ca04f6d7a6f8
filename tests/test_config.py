"""The user's own defaults: read strictly, written with their comments kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from specli import config
from specli.app.prepare import with_profile
from specli.config import read_config, with_value, without_value, write_config
from specli.errors import UsageError
from specli.options import Options


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "user_config_path", lambda *_args, **_more: tmp_path)
    return tmp_path / "config.toml"


def test_without_a_file_nothing_is_set() -> None:
    assert read_config() == {}


def test_values_are_those_of_the_command_line(file: Path) -> None:
    file.write_text(
        '[default]\nprofile = "mine"\ntemp = 1\nctx_size = "auto"\nraw = true\n'
        'stop = ["a", "b"]\nlogit_bias = ["5+1"]\nprediction = "~/a.txt"\n'
    )
    assert read_config() == {
        "profile": "mine",
        "temp": 1.0,
        "ctx_size": "auto",
        "raw": True,
        "stop": ("a", "b"),
        "logit_bias": {5: 1.0},
        "prediction": Path.home() / "a.txt",
    }


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("[default]\ntemprature = 1", "unknown key default.temprature", "did you mean temp?"),
        ("[default]\njson = true", "unknown key default.json", ""),
        ("[defaults]\ntemp = 1", "unknown key defaults", ""),
        ("temp = 1", "unknown key temp", "put temp into [default]"),
        ('[default]\ntemp = "warm"', "default.temp is 'warm', but takes a number", ""),
        ("[default]\ntemp = true", "default.temp is True, but takes a number", ""),
        ("[default]\nthreads = 1.5", "default.threads is 1.5, but takes a whole number", ""),
        ("[default]\nraw = 1", "default.raw is 1, but takes true or false", ""),
        ('[default]\nstop = "a"', "default.stop is 'a', but takes a list of texts", ""),
        ("[default]\ntemp = -1", "default.temp: --temp is -1, but must be", ""),
        ("[default]\ntemp = inf", "default.temp: --temp is inf", ""),
        ('[default]\ncache_type_k = "q9"', "default.cache_type_k: --cache-type-k is 'q9'", "f32"),
        ("[default", "is not valid TOML", "specli config edit"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(file: Path, text: str, told: str, hint: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config()
    assert str(file) in caught.value.message
    assert told in caught.value.message
    assert hint in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("content", [b"\xff", b"#" * (2 << 20)])
def test_what_cannot_be_read_is_told(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match=str(file)):
        read_config()


def test_setting_keeps_comments_and_other_values(file: Path) -> None:
    file.write_text("# mine\n[default]\ntemp = 0.5 # warm\n")
    write_config(with_value("default.top-k", "7"))
    write_config(with_value("temp", "1"))
    assert file.read_text() == "# mine\n[default]\ntemp = 1 # warm\ntop_k = 7\n"
    write_config(without_value("temp"))
    assert read_config() == {"top_k": 7}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("default.profile", "smollm2", "smollm2"),
        ("temp", "0.5", 0.5),
        ("draft_max", "auto", "auto"),
        ("gpu_layers", "-1", -1),
        ("raw", "on", True),
        ("ignore-eos", "false", False),
        ("stop", "a\nb", ("a", "b")),
    ],
)
def test_a_value_is_set_as_the_command_line_has_it(name: str, text: str, value: object) -> None:
    write_config(with_value(name, text))
    (found,) = read_config().values()
    assert found == value


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tmep", "1", "unknown key default.tmep"),
        ("temp", "warm", "default.temp is 'warm', but takes a number"),
        ("raw", "maybe", "default.raw is 'maybe', but takes true or false"),
        ("top_k", "-5", "default.top_k: --top-k is -5"),
    ],
)
def test_a_wrong_value_is_never_written(file: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        write_config(with_value(name, text))
    assert not file.exists()


def test_a_profile_goes_before_the_file_and_flags_before_both() -> None:
    options = Options(temp=0.1).under({"temp": 0.9, "top_k": 3, "grammar": "root ::= x"})
    given, profile = with_profile(options)
    assert profile is not None
    assert profile.name == "smollm2"
    assert (given.temp, given.top_k, given.grammar) == (0.1, 3, "root ::= x")
    assert given.json_schema is None
    schema, _profile = with_profile(options.but(json_schema="{}"))
    assert schema.grammar is None


def test_models_of_the_file_are_taken_only_where_no_target_is_named() -> None:
    usual = {"model": "usual.gguf", "model_draft": "draft.gguf"}
    assert with_profile(Options().under(usual))[0].given() == usual
    named = Options(model="other.gguf").under(usual)
    assert with_profile(named)[0].given() == {"model": "other.gguf"}
    profile = Options(profile="smollm2").under(usual)
    assert with_profile(profile)[0].model is None


def test_the_profile_of_the_file_takes_the_place_of_the_embedded_pair() -> None:
    _options, profile = with_profile(Options().under({"profile": "qwen3-8b"}))
    assert profile is not None
    assert profile.name == "qwen3-8b"
    assert with_profile(Options(model="a.gguf").under({"profile": "qwen3-8b"}))[1] is None
