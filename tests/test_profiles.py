from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from specli.errors import UsageError
from specli.hub.made import Recipe
from specli.profiles import load_profile, profile_files, read_profile

GOOD = """\
name: mine
description: A pair
target: big.gguf
draft:
  from: big.gguf
  type: Q2_K
  prune_layers: [3, 4]
defaults:
  draft_max: 8
  draft_p_min: 0.5
  ngram: true
"""


@pytest.fixture(autouse=True)
def empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "specli.profiles.user_config_path", lambda *_args, **_more: tmp_path / "config"
    )


def _write(text: str, folder: str = "profiles") -> Path:
    path = Path(folder) / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_profile_gives_models_and_settings() -> None:
    profile = read_profile(_write(GOOD))
    assert profile.target_model == "big.gguf"
    assert profile.draft_model == Recipe("big.gguf", "Q2_K", (3, 4))
    assert profile.defaults.given() == {"draft_max": 8, "draft_p_min": 0.5, "ngram": True}


def test_a_draft_may_be_left_out() -> None:
    profile = read_profile(_write("name: mine\ndescription: One\ntarget: big.gguf\n"))
    assert profile.draft_model is None
    assert profile.defaults.given() == {}


def test_a_profile_is_found_by_name_first_here_then_in_the_users_folder() -> None:
    _write(GOOD.replace("big", "users"), "config/profiles")
    assert load_profile("mine").target_model == "users.gguf"
    _write(GOOD.replace("big", "local"))
    assert load_profile("mine").target_model == "local.gguf"
    assert load_profile("config/profiles/mine.yaml").target_model == "users.gguf"


def test_every_shipped_profile_is_valid() -> None:
    names = list(profile_files())
    assert "smollm2" in names
    for name in names:
        assert load_profile(name).name == name


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(UsageError, match="no profile 'smolm2'") as caught:
        load_profile("smolm2")
    assert "did you mean smollm2?" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("wrong", "right", "message", "hint"),
    [
        ("draft_mx: 8", "draft_max: 8", r"mine.yaml:9: unknown key defaults\.draft_mx", "max"),
        ("typ: Q2_K", "type: Q2_K", r":6: unknown key draft\.typ", "did you mean type?"),
        ("targt: big.gguf", "target: big.gguf", ":3: unknown key targt", "did you mean target?"),
        ("temprature: 1", "ngram: true", "unknown key defaults.temprature", "did you mean temp?"),
        ("zzz: 1", "ngram: true", r":11: unknown key defaults\.zzz", "known keys: the long names"),
        ("draft_max: many", "draft_max: 8", r":9: defaults\.draft_max: .* not 'many'", ""),
        ("draft_max: -1", "draft_max: 8", r":9: defaults\.draft_max: .* not -1", ""),
        ('draft_max: "8"', "draft_max: 8", r":9: defaults\.draft_max: .* not '8'", ""),
        ("draft_p_min: 1.5", "draft_p_min: 0.5", r":10: defaults\.draft_p_min: .* not 1\.5", ""),
        ("ngram: 1", "ngram: true", r":11: defaults\.ngram: ", ""),
        ("prune_layers: [3, x]", "prune_layers: [3, 4]", r":7: draft\.prune_layers\.1: ", ""),
        ("target: 7", "target: big.gguf", ":3: target: ", ""),
        ("name: other", "name: mine", ":1: name is 'other' in a file called mine.yaml", "change"),
        ("name: mine\nname: mine", "name: mine", ":2: the key 'name' is given a second", ""),
        ("type: [", "type: Q2_K", "not valid YAML", ""),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_line_and_key(
    wrong: str, right: str, message: str, hint: str
) -> None:
    assert GOOD.count(right) == 1
    with pytest.raises(UsageError, match=message) as caught:
        read_profile(_write(GOOD.replace(right, wrong)))
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("line", "key"),
    [("target: big.gguf\n", "target"), ("  from: big.gguf\n", r"draft\.from")],
)
def test_a_missing_key_is_named(line: str, key: str) -> None:
    with pytest.raises(UsageError, match=rf"mine\.yaml:\d+: the key {key} is missing"):
        read_profile(_write(GOOD.replace(line, "", 1)))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text", "a: &a [*a]\n"])
def test_a_file_that_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"mine\.yaml"):
        read_profile(_write(text))


def test_bytes_that_are_not_text_are_refused() -> None:
    path = _write("")
    path.write_bytes(b"name: \xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_profile(path)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"cannot read nothing\.yaml"):
        load_profile("nothing.yaml")


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, len(GOOD)), length=st.integers(0, 8), text=st.text(max_size=8))
@example(place=0, length=len(GOOD), text="a: 2024-99-99")
@example(place=0, length=len(GOOD), text="[" * 3000)
@example(place=0, length=len(GOOD), text="&a [*a]")
@example(place=0, length=len(GOOD), text="? [a]\n: b")
@example(place=0, length=len(GOOD), text="!!binary x")
@example(place=0, length=len(GOOD), text="1: 2")
def test_whatever_stands_in_a_profile_it_is_read_or_refused(
    place: int, length: int, text: str
) -> None:
    path = Path("mine.yaml")
    path.write_text(GOOD[:place] + text + GOOD[place + length :], encoding="utf-8", newline="")
    with contextlib.suppress(UsageError):
        assert read_profile(path).name == "mine"


def test_aliases_of_aliases_are_refused_at_once() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n"
    with pytest.raises(UsageError, match=r"aliases \(\*name\) are not read in profiles"):
        read_profile(_write(GOOD + bomb))


@pytest.mark.parametrize("line", ["threads: 1" + 20 * "0", "temp: 1.0e+39", "seed: " + 40 * "9"])
def test_numbers_have_upper_bounds(line: str) -> None:
    with pytest.raises(UsageError, match="less than or equal to"):
        read_profile(_write(f"{GOOD}  {line}\n"))
