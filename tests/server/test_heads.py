"""A server whose drafter is a head, which a request may name, bound or leave out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests import tiny_gguf as tiny
from tests import tiny_heads
from tests.server.conftest import CONTEXT, Running, serving
from tests.tiny_heads import Automaton

TABLE = Automaton()
SHAPE = replace(tiny_heads.SHAPE, context=CONTEXT)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("served")
    target = tiny_heads.llama_target(TABLE, shape=SHAPE)
    tiny.write(folder / "target.gguf", target.bytes())
    tiny.write(folder / "head.gguf", tiny_heads.eagle3_head(TABLE, shape=SHAPE).bytes())
    (folder / "pair.yaml").write_text(
        f"name: pair\ndescription: a target and its head\ntarget: {folder}/target.gguf\n"
        f"draft: {folder}/head.gguf\n"
        "defaults: {spec_type: 'draft-eagle3,suffix', flash_attn: 'off', draft_max: 4}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECLI_CACHE", str(folder / "cache"))
        with serving(folder, "pair") as running:
            yield running


def said(answer: dict[str, Any]) -> str:
    text: str = answer["choices"][0]["message"]["content"]
    return text


@pytest.mark.parametrize(
    "fields",
    [
        {"speculative": {"drafters": ["eagle3"], "n_max": 1}},
        {"speculative.type": "draft-eagle3", "speculative.n_max": 1},
        {"speculative_config": {"method": "eagle3", "num_speculative_tokens": 1}},
    ],
    ids=str,
)
def test_a_request_names_and_bounds_the_head(served: Running, fields: dict[str, Any]) -> None:
    answer = served.chat("hello", max_tokens=20, **fields)
    block = answer["metrics"]["speculative_decoding"]
    assert block["num_draft_tokens"] == block["num_spec_steps"] > 0
    assert answer["timings"]["draft_n_accepted"] > 5
    without = served.chat("hello", max_tokens=20, speculative=False)
    assert without["timings"]["draft_n"] == 0
    assert said(answer) == said(without)


def test_a_head_that_is_not_loaded_is_refused_with_those_that_are(served: Running) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    answer = served.post(
        "/v1/chat/completions", {**body, "speculative": {"drafters": ["draft-mtp"]}}
    )
    assert answer.status_code == 400
    assert "no drafter 'draft-mtp' is loaded; there are: eagle3, suffix" in answer.text
