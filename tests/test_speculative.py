"""One drafting configuration: what settings mean, in every form that they come in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from specli.drafting_settings import flat_settings, placement, speculative_config, vllm_settings
from specli.errors import UsageError
from specli.speculative import (
    HEADS,
    KINDS,
    REPLACED_BY_SUFFIX,
    Adaptive,
    DrafterConfig,
    DraftModel,
    FixedLength,
    Grammar,
    Head,
    NgramCache,
    NgramSimple,
    Placement,
    Prediction,
    SpeculativeConfig,
    Suffix,
)

MODEL = DraftModel("d.gguf")
PAIR = {"model_draft": "d.gguf"}
PLAIN = SpeculativeConfig()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, SpeculativeConfig((Suffix(),))),
        (PAIR, SpeculativeConfig((MODEL, Suffix()))),
        ({**PAIR, "ngram": False}, SpeculativeConfig((MODEL,))),
        ({**PAIR, "draft_max": 5}, SpeculativeConfig((MODEL,), FixedLength(5))),
        (
            {**PAIR, "draft_min": 2, "draft_p_min": 0.5},
            SpeculativeConfig((MODEL,), FixedLength(4, 2, 0.5)),
        ),
        ({**PAIR, "spec_type": "draft"}, SpeculativeConfig((MODEL,))),
        (
            {**PAIR, "spec_type": "draft-simple,ngram", "draft_max": 3},
            SpeculativeConfig((MODEL, NgramSimple(3, 8)), FixedLength(3)),
        ),
        (
            {"ngram": True, "prediction": "text", "lookup_cache": "counts.bin"},
            SpeculativeConfig(
                (NgramSimple(), Prediction("text"), Suffix(), NgramCache(Path("counts.bin")))
            ),
        ),
        ({"spec_type": "lookup"}, SpeculativeConfig((NgramCache(),))),
        ({**PAIR, "spec_type": "suffix"}, SpeculativeConfig((Suffix(),))),
        (
            {**PAIR, "draft_max": 0, "ngram": True},
            SpeculativeConfig((NgramSimple(),), FixedLength(0)),
        ),
    ],
)
def test_settings_choose_drafters_and_policy(
    values: dict[str, object], expected: SpeculativeConfig
) -> None:
    assert speculative_config(values) == expected


@pytest.mark.parametrize(
    "values",
    [
        {**PAIR, "draft_max": 0},
        {**PAIR, "spec_type": "none"},
        {"ngram": False},
        {"spec_type": "none", "draft_max": 3, "draft_p_min": 0.5},
    ],
)
def test_no_drafting_has_one_spelling_inside(values: dict[str, object]) -> None:
    assert speculative_config(values) == PLAIN
    assert SpeculativeConfig((MODEL,), FixedLength(2)).without_model() == PLAIN
    assert str(PLAIN) == "plain"


def test_auto_is_a_value_that_overrides_lengths_set_elsewhere() -> None:
    profile = {**PAIR, "draft_max": 4, "draft_min": 2, "draft_p_min": 0.5}
    assert speculative_config({**profile, "draft_max": "auto"}).policy == Adaptive()
    assert placement({"gpu_layers": 3} | {"gpu_layers": "auto"}).gpu_layers is None


@pytest.mark.parametrize("kind", REPLACED_BY_SUFFIX)
def test_kinds_of_llama_cpp_that_suffix_replaces_mean_suffix(kind: str) -> None:
    assert speculative_config({"spec_type": kind}) == SpeculativeConfig((Suffix(),))
    assert SpeculativeConfig((Suffix(),)).has(kind)


@pytest.mark.parametrize(
    ("size", "draft", "expected"),
    [
        (None, None, NgramSimple(3, 8)),
        (2, None, NgramSimple(2, 8)),
        (12, None, NgramSimple(12, 12)),
        (None, 2, NgramSimple(2, 2)),
        (12, 48, NgramSimple(12, 48)),
    ],
)
def test_an_ngram_size_that_is_left_open_lets_the_other_one_draft(
    size: int | None, draft: int | None, expected: NgramSimple
) -> None:
    values = {"ngram": True, "ngram_size": size, "ngram_draft": draft}
    assert speculative_config(values).ngram == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ngram_size": 4, "ngram_draft": 3}, "`ngram_draft` 3 is less than `ngram_size` 4"),
        ({"spec_type": "ngram-map"}, "`spec_type` has no 'ngram-map'"),
        ({"spec_type": "draft"}, "`spec_type` draft needs a draft model"),
        ({"draft_max": "many"}, "`draft_max` is a whole number"),
        ({"draft_max": True}, "`draft_max` is a whole number"),
        ({"draft_max": -1}, "`draft_max` is a whole number"),
        ({"draft_p_min": 2}, "`draft_p_min` is a probability"),
        ({**PAIR, "threads_draft": "all"}, "`threads_draft` is a whole number"),
    ],
)
def test_what_could_not_be_fulfilled_is_refused_by_the_settings_name(
    values: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        speculative_config(values)
    assert "--" not in f"{refused.value.message} {refused.value.hint}"


def test_a_draft_runs_where_its_own_settings_say_with_the_targets_threads_otherwise() -> None:
    values = {
        **PAIR,
        "threads": 3,
        "gpu_layers_draft": "all",
        "device_draft": "a, b",
        "gpu_layers": 2,
    }
    model = speculative_config(values | {"cache_type_k_draft": "q8_0"}).draft_model
    assert model is not None
    assert model.placement == Placement(-1, ("a", "b"), 3, "q8_0", "f16")
    assert placement(values) == Placement(2, (), 3)
    assert placement({**values, "threads_draft": "auto"}, "_draft").threads is None


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"model": "d.gguf"}, SpeculativeConfig((MODEL, Suffix()))),
        (
            {"model": "d.gguf", "num_speculative_tokens": 5},
            SpeculativeConfig((MODEL,), FixedLength(5)),
        ),
        ({"model": "d.gguf", "method": "draft_model"}, SpeculativeConfig((MODEL,))),
        ({"method": "suffix"}, SpeculativeConfig((Suffix(),))),
        ({"method": "mtp"}, SpeculativeConfig((Head("draft-mtp", None),))),
        (
            {"method": "dspark", "model": "h.gguf", "num_speculative_tokens": 5},
            SpeculativeConfig((Head("draft-dspark", "h.gguf"),), FixedLength(5)),
        ),
        (
            {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4},
            SpeculativeConfig((NgramSimple(4, 5),), FixedLength(5)),
        ),
        (
            {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 4},
            SpeculativeConfig((NgramSimple(2, 2),), FixedLength(2)),
        ),
    ],
)
def test_vllms_dictionary_means_the_same(
    mapping: dict[str, object], expected: SpeculativeConfig
) -> None:
    assert speculative_config(vllm_settings(mapping)) == expected


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({}, "neither a model nor a method"),
        ({"method": "medusa", "model": "e.gguf"}, "no method 'medusa'"),
        ({"method": "draft_model"}, "needs a draft model"),
        ({"method": "suffix", "model": "d.gguf"}, "has no model"),
        ({"model": "d.gguf", "quantization": "fp8"}, "has no 'quantization'"),
    ],
)
def test_what_specli_does_not_have_of_vllms_is_refused(
    mapping: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        speculative_config(vllm_settings(mapping))


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (SpeculativeConfig((MODEL, Suffix())), "auto"),
        (SpeculativeConfig((MODEL,)), "auto, draft model alone"),
        (SpeculativeConfig((Suffix(),)), "auto, suffix alone"),
        (SpeculativeConfig((MODEL,), FixedLength(8, 0, 0.5)), "draft 8 p-min 0.5"),
        (SpeculativeConfig((MODEL, Suffix()), FixedLength(4)), "draft 4 + suffix"),
        (SpeculativeConfig((NgramSimple(2, 4), NgramCache())), "n-gram 2/4 + lookup"),
    ],
)
def test_a_setting_has_one_name(config: SpeculativeConfig, name: str) -> None:
    assert str(config) == name


@pytest.mark.parametrize(
    "config",
    [
        PLAIN,
        SpeculativeConfig((MODEL, Suffix())),
        SpeculativeConfig((MODEL,)),
        SpeculativeConfig((Suffix(),)),
        SpeculativeConfig((MODEL,), FixedLength(8, 2, 0.5)),
        SpeculativeConfig((MODEL, NgramSimple(2, 4)), FixedLength(4)),
    ],
    ids=str,
)
def test_flat_settings_are_read_back_as_the_same_configuration(config: SpeculativeConfig) -> None:
    model = {} if not config.models and config.drafters else PAIR
    found = speculative_config({**model, **flat_settings(config)})
    assert found == config


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_is_asked_for_by_llama_cpps_name_and_drafts_beside_what_costs_nothing(
    kind: str,
) -> None:
    given = {"model_draft": "head.gguf", "cache_type_k_draft": "q8_0"}
    config = speculative_config({**given, "spec_type": f"{kind},suffix"})
    assert config.drafters == (Head(kind, "head.gguf", Placement(type_k="q8_0")), Suffix())
    assert config.models == config.drafters[:1]
    assert config.without_model().drafters == (Suffix(),)
    assert str(config) == f"auto, {kind.removeprefix('draft-')}"
    fixed = speculative_config({**given, "spec_type": kind, "draft_max": 3})
    assert str(fixed) == f"{kind.removeprefix('draft-')} 3"
    assert speculative_config({**given, "spec_type": kind, "draft_max": 0}) == PLAIN


def test_a_head_needs_a_file_and_a_file_is_one_drafter() -> None:
    with pytest.raises(UsageError, match="needs a draft model"):
        speculative_config({"spec_type": "draft-eagle3"})
    with pytest.raises(UsageError, match="makes one file two drafters"):
        speculative_config({"spec_type": "draft-simple,draft-eagle3", "model_draft": "x.gguf"})


def test_every_kind_has_a_drafter_of_its_own_name() -> None:
    made: list[DrafterConfig] = [
        MODEL,
        Suffix(),
        Grammar(),
        NgramSimple(),
        NgramCache(),
        Prediction(""),
    ]
    assert {one.kind for one in made} | set(HEADS) >= set(KINDS.values())
    assert all("kind" not in {field.name for field in fields(one)} for one in made)


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, specli.speculative; print({'numpy', 'llama_cpp'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
