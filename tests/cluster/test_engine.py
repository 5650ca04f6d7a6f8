"""The callable of a cluster's workers, without a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from specli.cluster import BatchEngine
from specli.errors import ModelFileError
from tests import tiny_gguf as tiny


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("cluster")
    target = tiny.write(folder / "target.gguf", tiny.llama_bytes())
    draft = tiny.write(folder / "draft.gguf", tiny.llama_bytes(noise=0.1))
    models = {"model": str(target), "model_draft": str(draft), "draft_max": 3}
    return {**models, "predict": 12, "seed": 1}


@pytest.fixture
def engine(options: dict[str, object]) -> Iterator[BatchEngine]:
    engine = BatchEngine(options, parallel=2)
    yield engine
    engine.close()


def column(*values: object) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def texts(answers: dict[str, list[Any]]) -> dict[str, str]:
    records = [json.loads(record) for record in answers["record"] if record is not None]
    return {record["id"]: record["text"] for record in records}


def test_every_row_has_its_answer_in_its_place(engine: BatchEngine) -> None:
    answers = engine({"id": column("a", "b", "c"), "prompt": column("the cat", "rain", "an on")})
    assert answers["id"] == ["a", "b", "c"]
    assert answers["failure"] == [None, None, None]
    assert list(texts(answers)) == ["a", "b", "c"]


def test_the_text_of_a_prompt_does_not_depend_on_its_batch(engine: BatchEngine) -> None:
    together = texts(engine({"id": column("a", "b"), "prompt": column("the cat", "rain")}))
    alone = texts(engine({"id": column("b"), "prompt": column("rain")}))
    assert alone["b"] == together["b"]


def test_rows_may_have_their_own_settings_and_missing_values(engine: BatchEngine) -> None:
    limits = column(3, float("nan"))
    answers = engine({"prompt": column("the cat", "rain"), "max_tokens": limits})
    tokens = [json.loads(record)["completion_tokens"] for record in answers["record"]]
    assert tokens == [3, 12]


def test_a_row_that_cannot_be_answered_says_why_and_the_others_are_answered(
    engine: BatchEngine,
) -> None:
    answers = engine({"id": column("a", "b"), "prompt": column("rain", None)})
    assert answers["failure"][0] is None
    assert answers["record"][1] is None
    assert "prompt and messages" in answers["failure"][1]


def test_a_model_that_is_not_there_is_said_when_the_worker_starts() -> None:
    with pytest.raises(ModelFileError):
        BatchEngine({"model": str(Path("no-such.gguf"))})


def test_ray_is_not_needed_to_import_it() -> None:
    assert "ray" not in sys.modules
