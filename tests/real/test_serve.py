"""A server on the real pair: its texts are those of `specli run`, and LiteLLM can read them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bench_grammar
import pytest
import yaml

from specli.app.run import run
from specli.options import Options
from tests.real.pair import Pair
from tests.real.prompts import PROMPTS
from tests.server.conftest import Running, serving

pytestmark = [pytest.mark.real, pytest.mark.slow]

NAMES = ("fact", "code", "json", "story")
OPTIONS = {"predict": 16, "seed": 7, "ctx_size": 512, "exact": True}


@pytest.fixture(scope="module")
def served(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The pair with measured lengths, exact, so that no text depends on what runs beside it."""
    folder = tmp_path_factory.mktemp("served")
    setup = pair.session.setup
    assert setup.draft is not None
    (folder / "real.yaml").write_text(
        f"name: real\ndescription: the pair\ntarget: {setup.target}\ndraft: {setup.draft.model}\n"
    )
    with serving(folder, "real", slots=16, exact=True, ctx_size=512) as running:
        yield running


@pytest.mark.parametrize("temp", [0.0, 0.8])
def test_texts_beside_any_number_of_others_are_those_of_run(served: Running, temp: float) -> None:
    profile = str(served.folder / "real.yaml")
    alone = [
        run(Options(profile=profile, temp=temp, threads=1, **OPTIONS), PROMPTS[name])
        for name in NAMES
    ]
    texts = [one.generation.text for one in alone]
    fields: dict[str, Any] = {"temperature": temp, "seed": 7, "max_tokens": 16}
    for width in (1, 4, 16):
        asked = NAMES * max(1, width // len(NAMES))
        with ThreadPoolExecutor(width) as pool:
            answers = list(pool.map(lambda name: served.chat(PROMPTS[name], **fields), asked))
        said = [answer["choices"][0]["message"]["content"] for answer in answers]
        assert said == texts * (len(asked) // len(NAMES))


def test_what_a_grammar_forces_is_drafted_and_accepted_whole(served: Running) -> None:
    entries = {one["name"]: one for one in yaml.safe_load(bench_grammar.SET.read_text())}
    before = bench_grammar.counted(served.url)
    # Where a busy machine made batches look dear, some answers pass before they pay again.
    for name in ("sentiment", "call_one_of_three") * 4:
        # Costs may favour the pair's draft model instead, whose proposals are longer.
        alone = {"speculative": {"drafters": ["grammar"]}}
        body = bench_grammar.body_of(entries[name]) | alone
        answer = served.post("/v1/chat/completions", body)
        assert answer.status_code == 200
        bench_grammar.require_valid(entries[name], answer.json())
    drafted, accepted = (
        now - then for now, then in zip(bench_grammar.counted(served.url), before, strict=True)
    )
    assert drafted == accepted > 20


@pytest.mark.filterwarnings("ignore")
def test_litellm_reads_whole_and_streamed_answers(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It would fetch prices from elsewhere while it is imported.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm = pytest.importorskip("litellm")
    asked: dict[str, Any] = {
        "model": "openai/any",
        "api_base": served.url + "/v1",
        "api_key": "none",
        "messages": [{"role": "user", "content": PROMPTS["fact"]}],
        "max_tokens": 24,
    }
    whole = litellm.completion(**asked)
    parts = litellm.completion(**asked, stream=True)
    streamed = "".join(part.choices[0].delta.content or "" for part in parts)
    assert streamed == whole.choices[0].message.content != ""
    assert whole.usage.completion_tokens == 24
