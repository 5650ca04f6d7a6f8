"""`specli tune`: what it prints and writes, and that the profile means what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from specli.app.prepare import prepared_setup
from specli.app.tune import output_path, profile_content
from specli.bench.evidence import MARK
from specli.bench.rig import Rig
from specli.bench.space import Machine, Setting, configs_to_try, default_config, neighbours
from specli.errors import UsageError
from specli.options import Options
from specli.profiles import load_profile, user_folder, write_profile
from specli.speculative import DraftModel, SpeculativeConfig
from tests.cli.conftest import Specli

PAIR = ("-m", "target.gguf", "-md", "draft.gguf")

DRAFT = DraftModel("draft.gguf")
TRIED = configs_to_try(DRAFT)
CONFIGS = dict.fromkeys(
    [SpeculativeConfig(), default_config(DRAFT), default_config(None), *TRIED]
    + [step for config in TRIED for step in neighbours(config)]
)
MACHINES = [
    Machine(),
    Machine(threads=1),
    Machine(threads=2, threads_draft=1),
    Machine(cache_type_draft="q8_0"),
    Machine(cache_type="q8_0", gpu_layers=0),
]


@pytest.mark.parametrize("config", list(CONFIGS), ids=str)
def test_a_profile_sets_up_what_was_measured(
    sealed: Path, tmp_path: Path, config: SpeculativeConfig
) -> None:
    target, draft = (str(sealed / f"{name}.gguf") for name in ("target", "draft"))
    given = Options(model=target, model_draft=draft, ctx_size=128)
    base = prepared_setup(given, None)
    assert base.draft is not None
    config = config.with_model(base.draft)
    path = tmp_path / "tuned.yaml"
    for machine in MACHINES:
        setting = Setting(config, machine if config.draft_model else machine.without_draft())
        write_profile(path, profile_content("tuned", setting, base, None, given))
        profile = load_profile(str(path))
        setup = prepared_setup(Options().over(profile.defaults.given()), profile)
        assert setup == setting.over(base)


@pytest.mark.slow
def test_a_pair_is_tuned_and_runs_with_the_profile(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    done = specli("tune", *PAIR, "--budget", "2s", "-o", str(path))
    assert done.code == 0, done.err
    assert "plain" in done.out
    assert f"wrote {path}" in done.err
    text = path.read_text()
    assert text.startswith(MARK)
    assert "-m" not in yaml.safe_load(text)
    assert Path(yaml.safe_load(text)["target"]).is_absolute()
    assert specli("profile", "validate", str(path)).code == 0
    assert specli("run", "--profile", str(path), "-n", "4", "Hello").code == 0


def test_prompts_come_from_a_file_and_one_that_does_not_fit_is_left_out(
    specli: Specli, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Hello\n" + "Why? " * 80 + "\nGoodbye\n")
    path = tmp_path / "mine.yaml"
    done = specli("tune", *PAIR, "--budget", "2s", "-o", str(path), "--prompts", str(prompts))
    assert done.code == 0
    assert "1 of 3 prompts were too long" in done.err
    prompts.write_text("Why? " * 80)
    done = specli("tune", *PAIR, "--budget", "2s", "-o", str(path), "--prompts", str(prompts))
    assert done.code == 1
    assert "the prompt has" in done.err


@pytest.mark.slow
def test_without_a_name_the_profile_is_found_by_the_targets(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rig, "measure", lambda _rig, setting, _pass, _deadline: speed(setting, 2.0))
    done = specli("tune", *PAIR, "--budget", "2s")
    path = user_folder() / "target-tuned.yaml"
    assert done.code == 0
    assert path.exists()
    assert "specli run --profile target-tuned" in done.err
    assert specli("tune", *PAIR, "--budget", "2s").code == 0


def speed(setting: Setting, drafted: float) -> float:
    return 10.0 * (drafted if setting.drafts else 1.0)


@pytest.mark.parametrize("asked", [True, False])
def test_where_plain_decoding_wins_a_profile_is_written_only_when_asked_for(
    specli: Specli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setattr(Rig, "measure", lambda _rig, setting, _pass, _deadline: speed(setting, 0.5))
    path = tmp_path / "mine.yaml"
    done = specli("tune", *PAIR, "--budget", "2s", *(["-o", str(path)] if asked else []))
    assert done.code == 0
    assert "Plain decoding is fastest" in done.out
    if asked:
        profile = load_profile(str(path))
        assert profile.draft is None
        assert profile.defaults.given() == {"draft_max": 0}
    else:
        assert "no profile is written" in done.err
        assert not user_folder().exists()


@pytest.mark.parametrize("asked", [True, False])
def test_ctrl_c_shows_the_best_so_far_and_writes_only_a_file_that_was_named(
    specli: Specli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    measured: list[Setting] = []

    def measure(_rig: Rig, setting: Setting, _pass: int, _deadline: float) -> float:
        measured.append(setting)
        if len(measured) > 30:
            raise KeyboardInterrupt
        return speed(setting, 1.5)

    monkeypatch.setattr(Rig, "measure", measure)
    path = tmp_path / "mine.yaml"
    done = specli("tune", *PAIR, "--budget", "2s", *(["-o", str(path)] if asked else []))
    assert done.code == 130
    assert "auto is 1.50×" in done.out
    assert path.exists() == asked
    if asked:
        assert "interrupted after" in path.read_text()
    else:
        assert "no profile is written without -o" in done.err


def test_ctrl_c_before_anything_is_known_is_only_an_interrupt(
    specli: Specli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_given: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Rig, "measure", measure)
    done = specli("tune", *PAIR, "--budget", "2s")
    assert (done.code, done.out) == (130, "")
    assert not user_folder().exists()


def test_a_budget_that_is_over_at_once_says_so(specli: Specli) -> None:
    done = specli("tune", *PAIR, "--budget", "0.51s")
    assert done.code == 2
    assert "were over before" in done.err
    assert "--budget" in done.err


def test_a_profile_that_somebody_wrote_is_not_overwritten(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\n")
    done = specli("tune", *PAIR, "-o", str(path))
    assert done.code == 2
    assert "specli tune did not write it" in done.err
    assert path.read_text() == "name: mine\n"


@pytest.mark.parametrize("name", ["Mine", "a b", "folder/Mine.yaml", "folder/mine", "-x"])
def test_a_name_that_no_profile_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a profile's file"):
        output_path(name, "pair")
