from __future__ import annotations

import pytest

from specli.errors import UsageError
from specli.hub.quants import HubFile, by_file, by_quant, may_be_head, models_among

REPO = "someone/Tiny-GGUF"


def _files(*paths: str) -> list[HubFile]:
    return [HubFile(path, 1, "0") for path in paths]


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("qwen2.5-0.5b-instruct-q8_0.gguf", "Q8_0"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("model-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("model-IQ2_XXS.gguf", "IQ2_XXS"),
        ("model-bf16.gguf", "BF16"),
        ("model-fp16.gguf", "FP16"),
        ("gpt-oss-MXFP4.gguf", "MXFP4"),
        ("Q6_K/model-Q6_K-00001-of-00002.gguf", "Q6_K"),
        ("BF16/model-00001-of-00002.gguf", "BF16"),
        ("model.gguf", None),
        ("Qwen2.gguf", None),
    ],
)
def test_the_quantisation_is_read_from_the_name(path: str, quant: str | None) -> None:
    files = [path, path.replace("-00001-of-", "-00002-of-")]
    (model,) = models_among(_files(*dict.fromkeys(files)))
    assert model.path == path
    assert model.quant == quant


def test_projectors_other_files_and_incomplete_parts_are_no_models() -> None:
    files = _files("README.md", "mmproj-F16.gguf", "a-00001-of-00002.gguf", "b-00002-of-00002.gguf")
    assert models_among(files) == []


def test_a_quantisation_is_told_from_one_that_ends_alike() -> None:
    models = models_among(_files("m-Q4_K_XL.gguf", "m-UD-Q4_K_XL.gguf"))
    assert by_quant(models, "q4_k_xl", REPO).path == "m-Q4_K_XL.gguf"
    assert by_quant(models, "UD-Q4_K_XL", REPO).path == "m-UD-Q4_K_XL.gguf"


def test_without_a_quantisation_it_is_q4_k_m_or_the_only_model() -> None:
    both = models_among(_files("m-Q4_K_M.gguf", "m-Q8_0.gguf"))
    assert by_quant(both, None, REPO).path == "m-Q4_K_M.gguf"
    one = models_among(_files("m-Q8_0.gguf"))
    assert by_quant(one, None, REPO).path == "m-Q8_0.gguf"


def test_a_quantisation_that_is_not_there_lists_those_that_are() -> None:
    models = models_among(_files("m-Q8_0.gguf", "m-Q4_K_M.gguf", "m-F16.gguf"))
    with pytest.raises(UsageError, match="has no Q2_K") as caught:
        by_quant(models, "Q2_K", REPO)
    assert caught.value.hint == "there are: F16, Q4_K_M, Q8_0"


def test_two_models_of_one_quantisation_ask_for_the_file() -> None:
    models = models_among(_files("a-Q8_0.gguf", "b-Q8_0.gguf"))
    with pytest.raises(UsageError, match="2 models in Q8_0") as caught:
        by_quant(models, "Q8_0", REPO)
    assert "hf:someone/Tiny-GGUF/b-Q8_0.gguf" in (caught.value.hint or "")


def test_a_head_beside_its_target_is_not_taken_for_the_target() -> None:
    models = models_among(_files("m-Q8_0.gguf", "mtp-m-Q8_0.gguf", "eagle3-m-Q8_0.gguf"))
    assert by_quant(models, "Q8_0", REPO).path == "m-Q8_0.gguf"
    heads = models_among(_files("mtp-m-Q8_0.gguf"))
    assert by_quant(heads, None, REPO).path == "mtp-m-Q8_0.gguf"


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("mtp-gemma-4-12B-it.gguf", True),
        ("MTP/gemma-4-12B-it-Q8_0-MTP.gguf", True),
        ("gemma-4-E2B-it-assistant-IQ4_NL.gguf", True),
        ("LFM2.5-1.2B-Instruct-DSpark-5L-draft-f16.gguf", True),
        ("Qwen3.6-27B-DFlash-Q4_K_M.gguf", True),
        ("Qwen3-4B-eagle3.gguf", True),
        ("Qwen3-4B-Q4_K_M.gguf", False),
        ("my-assistants.gguf", False),
    ],
)
def test_heads_are_known_by_their_published_names(path: str, head: bool) -> None:
    assert may_be_head(path) is head


def test_names_without_a_quantisation_are_listed_as_files() -> None:
    models = models_among(_files("a.gguf", "b.gguf"))
    with pytest.raises(UsageError, match="has no Q4_K_M") as caught:
        by_quant(models, None, REPO)
    assert "hf:someone/Tiny-GGUF/a.gguf" in (caught.value.hint or "")


def test_a_repository_without_models_suggests_a_repository_of_conversions() -> None:
    with pytest.raises(UsageError, match="holds no GGUF") as caught:
        by_quant([], "Q8_0", "someone/Tiny")
    assert "Tiny-GGUF" in (caught.value.hint or "")


def test_a_file_that_is_not_there_lists_the_closest() -> None:
    models = models_among(_files("Tiny-Q8_0.gguf", "x.gguf"))
    with pytest.raises(UsageError, match="no file tiny-q8_0") as caught:
        by_file(models, "tiny-q8_0.gguf", REPO)
    assert "Tiny-Q8_0.gguf" in (caught.value.hint or "")


def test_a_later_part_names_the_first() -> None:
    models = models_among(_files("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"))
    with pytest.raises(UsageError, match="later part") as caught:
        by_file(models, "m-00002-of-00002.gguf", REPO)
    assert "m-00001-of-00002.gguf" in (caught.value.hint or "")
