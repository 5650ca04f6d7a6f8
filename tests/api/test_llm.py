"""`LLM`: the texts, their order and figures, streams, and what is wrong with arguments."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from specli import (
    LLM,
    ClosedError,
    ModelFileError,
    PairIncompatibleError,
    Piece,
    PromptTooLongError,
    RequestOutput,
    SamplingParams,
    SpeculativeConfig,
    UsageError,
)
from specli.api.requests import Prompt
from specli.app.run import run
from specli.options import Options
from specli.speculative import DraftModel, FixedLength
from tests.api.conftest import EXACT, Load

GREEDY = SamplingParams(max_tokens=30, ignore_eos=True)
SAMPLED = SamplingParams(temperature=0.8, seed=3, max_tokens=30, ignore_eos=True)
PROMPTS = ["a", "the one", "on and on", "in the end", "hello"]
HELLO = [{"role": "user", "content": "hello"}]


def texts(outputs: list[RequestOutput]) -> list[str]:
    return [output.outputs[0].text for output in outputs]


@pytest.mark.parametrize("params", [GREEDY, SAMPLED])
def test_texts_are_those_of_specli_run(load: Load, params: SamplingParams) -> None:
    options = Options(
        profile=EXACT, raw=True, predict=30, ignore_eos=True, temp=params.temperature, seed=3
    )
    plain = options.but(spec_type="none")
    (output,) = load().generate("hello", params)
    assert output.outputs[0].text == run(options, "hello").generation.text
    assert output.outputs[0].text == run(plain, "hello").generation.text


@pytest.mark.parametrize("params", [GREEDY, SAMPLED])
def test_results_are_in_the_order_of_the_prompts(load: Load, params: SamplingParams) -> None:
    llm = load()
    together = llm.generate(PROMPTS, params)
    assert [output.prompt for output in together] == PROMPTS
    assert texts(together) == [texts(llm.generate(prompt, params))[0] for prompt in PROMPTS]
    assert len(set(texts(together))) == len(PROMPTS)


def test_each_prompt_can_have_parameters_of_its_own(load: Load) -> None:
    every = [SamplingParams(max_tokens=count, ignore_eos=True) for count in (1, 7)]
    short, long = load().generate(["a", "a"], every)
    assert len(short.outputs[0].token_ids) == 1
    assert len(long.outputs[0].token_ids) == 7


def test_token_ids_are_a_prompt_too(load: Load) -> None:
    llm = load()
    (text,) = llm.generate("hello", GREEDY)
    (ids,) = llm.generate(text.prompt_token_ids, GREEDY)
    prompts: list[Prompt] = [text.prompt_token_ids, "hello"]
    both = llm.generate(prompts, GREEDY)
    assert ids.prompt is None
    assert ids.prompt_token_ids == text.prompt_token_ids
    assert texts([ids, *both]) == texts([text]) * 3


def test_no_prompt_has_no_result(load: Load) -> None:
    assert load().generate([], GREEDY) == []


def test_an_output_has_the_tokens_of_its_text(load: Load) -> None:
    (output,) = load().generate("hello", GREEDY)
    (completion,) = output.outputs
    assert completion.index == 0
    assert completion.finish_reason == "length"
    assert len(completion.token_ids) == 30
    (again,) = load().generate([*output.prompt_token_ids, *completion.token_ids[:20]], GREEDY)
    assert again.outputs[0].token_ids[:10] == completion.token_ids[20:]


def test_a_text_ends_before_a_stop_string(load: Load) -> None:
    llm = load()
    (whole,) = texts(llm.generate("hello", GREEDY))
    stop = whole[5:8]
    params = SamplingParams(max_tokens=30, ignore_eos=True, stop=[stop, "never"])
    (output,) = llm.generate("hello", params)
    assert output.outputs[0].text == whole[: whole.index(stop)]
    assert output.outputs[0].finish_reason == "stop"
    one = SamplingParams(max_tokens=30, ignore_eos=True, stop=stop)
    assert texts(llm.generate("hello", one)) == texts([output])


def test_a_text_follows_its_grammar(load: Load) -> None:
    llm = load()
    grammar = SamplingParams(grammar='root ::= "yes" | "no"', max_tokens=20)
    schema = SamplingParams(json_schema={"enum": ["a", "b"]}, max_tokens=20)
    assert texts(llm.generate("hello", grammar))[0] in {"yes", "no"}
    assert texts(llm.generate(["hello"] * 3, schema))[2] in {'"a"', '"b"'}


def test_a_seed_that_was_drawn_is_reported(load: Load) -> None:
    llm = load()
    drawn = SamplingParams(temperature=0.8, max_tokens=30, ignore_eos=True)
    first, second = llm.generate(["hello"] * 2, drawn)
    again = SamplingParams(temperature=0.8, max_tokens=30, ignore_eos=True, seed=first.seed)
    assert first.seed != second.seed
    assert texts([first]) == texts(llm.generate("hello", again))


def test_the_seed_of_the_llm_is_for_requests_without_one(load: Load) -> None:
    llm = load(seed=3)
    drawn = SamplingParams(temperature=0.8, max_tokens=30, ignore_eos=True)
    assert texts(llm.generate("hello", drawn)) == texts(llm.generate("hello", SAMPLED))


def test_the_metrics_agree_with_the_tokens(load: Load) -> None:
    (output,) = load().generate("hello", GREEDY)
    metrics = output.metrics
    drafted, accepted = metrics.num_draft_tokens, metrics.num_accepted_draft_tokens
    assert 0 < accepted < drafted
    assert metrics.draft_acceptance_rate == accepted / drafted
    assert list(metrics.by_drafter) == ["draft"]
    assert metrics.by_drafter["draft"].num_draft_tokens == drafted
    assert metrics.by_drafter["draft"].draft_acceptance_rate == accepted / drafted
    assert len(metrics.acceptance_per_position) == 4
    assert metrics.acceptance_per_position == sorted(metrics.acceptance_per_position, reverse=True)
    assert metrics.mean_acceptance_length is not None
    rounds = round(30 / metrics.mean_acceptance_length)
    assert 30 - accepted in (rounds, rounds - 1)
    assert metrics.tokens_per_second is not None
    assert metrics.tokens_per_second > 0
    assert metrics.time_to_first_token is not None
    assert metrics.time_to_first_token > 0
    assert metrics.num_cached_tokens == 0


def test_a_prompt_that_was_seen_before_is_cached(load: Load) -> None:
    llm = load()
    prompt = "the same beginning of a text"
    outputs = [llm.generate(prompt, GREEDY)[0] for _time in range(2)]
    assert outputs[1].metrics.num_cached_tokens == len(outputs[1].prompt_token_ids) - 1
    assert texts(outputs[:1]) == texts(outputs[1:])


def test_plain_decoding_drafts_nothing(load: Load) -> None:
    drafted = load().generate("hello", GREEDY)
    plain = load(speculative_config=SpeculativeConfig()).generate("hello", GREEDY)
    assert plain[0].metrics.num_draft_tokens == 0
    assert plain[0].metrics.draft_acceptance_rate is None
    assert plain[0].metrics.by_drafter == {}
    assert texts(plain) == texts(drafted)


@pytest.mark.parametrize(
    ("config", "drafter"),
    [
        ({"model": "draft.gguf", "num_speculative_tokens": 4}, "draft"),
        ({"method": "draft_model", "model": "draft.gguf", "num_speculative_tokens": 4}, "draft"),
        ({"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 1}, "ngram"),
        (SpeculativeConfig((DraftModel("draft.gguf"),), FixedLength(4)), "draft"),
    ],
)
def test_the_configuration_names_the_drafter(
    load: Load, config: dict[str, object] | SpeculativeConfig, drafter: str
) -> None:
    (output,) = load(speculative_config=config).generate("hello hello hello hello", GREEDY)
    assert list(output.metrics.by_drafter) == [drafter]


def profile(folder: Path, defaults: str) -> str:
    file = folder / "own.yaml"
    file.write_text(
        "name: own\ndescription: tiny\ntarget: target.gguf\ndraft: draft.gguf\n"
        f"defaults: {{{defaults}}}\n"
    )
    return str(file)


def test_a_profile_names_models_and_settings(load: Load, models: Path, tmp_path: Path) -> None:
    llm = load(None, profile=profile(tmp_path, "draft_max: 2, predict: 12, system: be brief"))
    (output,) = llm.chat(HELLO)
    assert len(output.outputs[0].token_ids) <= 12
    assert len(output.metrics.acceptance_per_position) == 2
    assert output.prompt is not None
    assert "be brief" in output.prompt


def test_the_profiles_draft_model_needs_no_name(load: Load, tmp_path: Path) -> None:
    named = profile(tmp_path, "draft_max: 2")
    for arguments in (
        {"num_speculative_tokens": 3},
        {"speculative_config": {"num_speculative_tokens": 3}},
    ):
        (output,) = load(None, profile=named, **arguments).generate("hello", GREEDY)
        assert len(output.metrics.acceptance_per_position) == 3


def test_a_chat_has_the_models_template(load: Load) -> None:
    llm = load()
    (output,) = llm.chat(HELLO, GREEDY)
    assert output.prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    assert texts([output]) == texts(llm.generate(output.prompt, GREEDY))
    other = [{"role": "system", "content": "be brief"}, *HELLO]
    assert texts(llm.chat([HELLO, other], GREEDY))[0] == output.outputs[0].text


def test_a_stream_yields_the_text_of_generate(load: Load) -> None:
    llm = load()
    stop = SamplingParams(max_tokens=30, ignore_eos=True, stop="never there")
    for params in (GREEDY, SAMPLED, stop):
        pieces = list(llm.stream("hello", params))
        assert "".join(piece.text for piece in pieces) == texts(llm.generate("hello", params))[0]
        assert {piece.source for piece in pieces} == {"target", "draft"}
    chat = "".join(piece.text for piece in llm.stream(HELLO, GREEDY))
    assert chat == texts(llm.chat(HELLO, GREEDY))[0]


def test_a_stream_returns_its_output(load: Load) -> None:
    llm = load()
    returned: list[RequestOutput] = []

    def shown() -> Generator[Piece, None, None]:
        returned.append((yield from llm.stream("hello", GREEDY)))

    text = "".join(piece.text for piece in shown())
    assert texts(returned) == texts(llm.generate("hello", GREEDY)) == [text]


def test_a_stream_that_is_left_early_frees_its_slot(load: Load, cancelled: list[int]) -> None:
    llm = load("long.gguf", max_num_seqs=1, max_model_len=0)
    endless = SamplingParams(ignore_eos=True)
    stream = llm.stream("hello", endless)
    next(stream)
    stream.close()
    for _piece in llm.stream("hello", endless):
        break
    assert len(llm.generate("hello", GREEDY)[0].outputs[0].token_ids) == 30
    assert cancelled == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"model": "missing.gguf"}, ModelFileError, "missing.gguf"),
        ({"speculative_model": "missing.gguf"}, ModelFileError, "missing.gguf"),
        (
            {"speculative_config": {"model": "foreign.gguf", "strict_vocab": True}},
            PairIncompatibleError,
            "40",
        ),
        ({"speculative_config": {"model": "draft.gguf", "tokens": 4}}, UsageError, "'tokens'"),
        ({"speculative_config": {"method": "eagle9"}}, UsageError, "suffix"),
        ({"speculative_config": {"num_speculative_tokens": 4}}, UsageError, "draft model"),
        ({"num_speculative_tokens": 4}, UsageError, '"model"'),
        (
            {"speculative_config": {"method": "suffix"}, "speculative_model": "draft.gguf"},
            UsageError,
            "into speculative_config",
        ),
        ({"profile": "no-such-profile"}, UsageError, "no-such-profile"),
        ({"max_num_seqs": 0}, UsageError, "max_num_seqs"),
        ({"max_model_len": -1}, UsageError, "max_model_len"),
        ({"threads": 0}, UsageError, "threads"),
    ],
)
def test_an_error_of_loading_says_what_to_change(
    models: Path, arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error) as raised:
        LLM(**{"model": "target.gguf"} | arguments)
    assert named in f"{raised.value} {getattr(raised.value, 'hint', '')}"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_p": 0.0}, "top_p"),
        ({"grammar": "root ::= [a]", "json_schema": {}}, "one of them"),
    ],
)
def test_sampling_parameters_outside_their_range_are_refused(
    arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError) as raised:
        SamplingParams(**arguments)
    assert named in f"{raised.value} {raised.value.hint}"


def test_a_profile_sets_the_parameters_of_requests_that_have_none() -> None:
    options = Options(
        temp=0.5, repeat_penalty=1.1, predict=-1, seed=-1, stop=("a",), json_schema="{}"
    )
    expected = SamplingParams(
        temperature=0.5, repetition_penalty=1.1, stop=("a",), json_schema="{}"
    )
    assert SamplingParams.of_options(options) == expected
    assert SamplingParams.of_options(Options()) == SamplingParams()


def test_a_request_that_is_wrong_is_refused_before_anything_is_generated(load: Load) -> None:
    llm = load(max_model_len=64)
    with pytest.raises(PromptTooLongError) as raised:
        llm.generate(["hello", "a" * 100], GREEDY)
    assert "max_model_len" in str(raised.value.hint)
    for wrong, named in (
        ("", "empty"),
        ([5, 4000], "4000"),
        ([5, -1], "-1"),
        ([HELLO], "chat()"),
        ([None], "None"),
    ):
        with pytest.raises(UsageError) as refused:
            llm.generate(wrong, GREEDY)  # type: ignore[arg-type]
        assert named in f"{refused.value} {refused.value.hint}"
    chats: list[Any] = [[{"role": "user"}], ["hello"], [[]]]
    for chat in chats:
        with pytest.raises(UsageError):
            llm.chat(chat, GREEDY)
    with pytest.raises(UsageError, match="2 prompts and 1 "):
        llm.generate(["a", "b"], [GREEDY])
    with pytest.raises(UsageError, match="logit_bias names token 4000"):
        llm.generate("a", SamplingParams(logit_bias={4000: 1.0}))
    with pytest.raises(UsageError, match="grammar"):
        llm.generate(["a", "b", "c"], SamplingParams(grammar="root ::= ("))
    assert len(texts(llm.generate(PROMPTS, GREEDY))) == len(PROMPTS)


def test_an_llm_that_is_closed_says_so(load: Load) -> None:
    llm = load()
    llm.generate("hello", GREEDY)
    llm.close()
    llm.close()
    with pytest.raises(ClosedError, match="closed"):
        llm.generate("hello", GREEDY)
    with pytest.raises(ClosedError, match="closed"):
        next(llm.stream("hello", GREEDY))


@pytest.mark.parametrize("draft", ["foreign.gguf", "sentencepiece.gguf"])
def test_a_draft_of_another_vocabulary_changes_no_text(load: Load, draft: str) -> None:
    config = {"model": draft, "num_speculative_tokens": 4}
    drafted = load(speculative_config=config, max_num_seqs=3).generate(PROMPTS, SAMPLED)
    plain = load(speculative_config=SpeculativeConfig()).generate(PROMPTS, SAMPLED)
    assert texts(drafted) == texts(plain)
    assert sum(output.metrics.num_draft_tokens for output in drafted) > 0
