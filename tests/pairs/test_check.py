from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from specli.errors import ModelFileError
from specli.pairs.check import CheckOptions, ExaminedModel, PairCheck, check_pair, examine, rank
from specli.pairs.sizing import DeviceMemory, FreeMemory
from specli.pairs.vocabulary import Outcome, RuleResult
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Shape, Value, Vocabulary

BPE = tiny.bpe_vocabulary()
SMALL = Shape(layers=1, n_embd=8, heads=1, kv_heads=1, n_ff=8, context=4096)
LARGE = Shape(layers=4, n_embd=64, context=8192)


def model(
    vocabulary: Vocabulary = BPE,
    shape: Shape = SMALL,
    parameters: float | None = None,
    extra: Mapping[str, Value] | None = None,
) -> ExaminedModel:
    examined = examine(tiny.header(tiny.llama_bytes(vocabulary, shape=shape, extra=extra)))
    if parameters is None:
        return examined
    size = int(parameters)
    facts = replace(examined.facts, parameters=size, active_parameters=size, active_bytes=size)
    return replace(examined, facts=facts)


TARGET = model(shape=LARGE, parameters=8e9)


def rule(report: PairCheck, name: str) -> RuleResult:
    (found,) = [result for result in report.rules if result.rule == name]
    return found


def test_a_good_pair_passes_every_rule() -> None:
    report = check_pair(TARGET, model(parameters=1e9), CheckOptions(free=FreeMemory(1 << 30)))
    assert {result.rule: result.verdict for result in report.rules} == {
        result.rule: "pass" for result in report.rules
    }
    assert report.verdict == "same"
    assert report.compatible
    assert report.context == 4096
    assert report.may_pay


@pytest.mark.parametrize(
    ("draft", "name", "verdict", "words"),
    [
        (model(BPE.with_token(7, b"x1"), parameters=1e9), "token texts", "fail", "token 7 is"),
        (model(BPE.resized(449), parameters=1e9), "vocabulary size", "fail", "129 apart"),
        (model(replace(BPE, add_bos=True), parameters=1e9), "BOS token", "fail", "draft adds"),
        (model(BPE.with_token(3, b"x1"), parameters=1e9), "special tokens", "warn", "token 3 is"),
        (model(replace(BPE, bos=0), parameters=1e9), "special tokens", "warn", "BOS is 1 in"),
        (model(replace(BPE, eos=9), parameters=1e9), "special tokens", "warn", "9 in the draft"),
        (model(replace(BPE, eos=9), parameters=1e9), "end of generation", "warn", "draft only"),
        (model(replace(BPE, pre="qwen2"), parameters=1e9), "pre-tokenizer", "warn", "qwen2"),
        (
            model(replace(BPE, chat_template=None), parameters=1e9),
            "chat template",
            "warn",
            "the draft has none",
        ),
        (
            model(replace(BPE, chat_template="{{ 1 }}"), parameters=1e9),
            "chat template",
            "warn",
            "they differ",
        ),
        (
            model(shape=replace(SMALL, context=512), parameters=1e9),
            "context",
            "warn",
            "512 (draft)",
        ),
        (model(extra={"llama.wkv.head_size": 4}, parameters=1e9), "rollback", "warn", "the draft"),
        (model(parameters=3e9), "model sizes", "warn", "at most 1B is advised"),
        (model(parameters=3e9), "cost ratio", "warn", "2.7 times"),
        (model(parameters=2e9), "cost ratio", "pass", "5 or more is better"),
    ],
)
def test_each_rule_names_what_differs(
    draft: ExaminedModel, name: str, verdict: Outcome, words: str
) -> None:
    report = check_pair(TARGET, draft, CheckOptions())
    found = rule(report, name)
    assert found.verdict == verdict
    assert words in found.detail
    assert found.hint or verdict == "pass"
    failed = any(one.verdict == "fail" for one in report.rules)
    assert report.verdict == ("mapped" if failed else "same")
    strict = check_pair(TARGET, draft, CheckOptions(strict_vocab=True))
    assert strict.verdict == ("incompatible" if failed else "same")


def test_a_draft_s_memory_is_that_of_its_own_context() -> None:
    long = CheckOptions(context=8192)
    short = model(shape=replace(SMALL, context=512), parameters=1e9)
    own = check_pair(TARGET, short, CheckOptions(context=512)).memory[1]
    assert check_pair(TARGET, short, long).memory[1] == own
    assert own.cache < check_pair(TARGET, model(parameters=1e9), long).memory[1].cache


def test_a_model_that_only_reads_is_no_draft_of_another_vocabulary() -> None:
    other = BPE.with_token(7, b"x1")
    for only_reads in ({"llama.pooling_type": 1}, {"llama.attention.causal": False}):
        report = check_pair(TARGET, model(other, extra=only_reads), CheckOptions())
        assert report.verdict == "incompatible"
        assert not report.compatible


def test_the_same_vocabulary_ranks_before_another_and_what_cannot_draft_is_last() -> None:
    cheap, dear = model(BPE.with_token(7, b"x1"), parameters=1e8), model(parameters=2e9)
    reader = model(BPE.with_token(7, b"x1"), extra={"llama.pooling_type": 1}, parameters=1e7)
    reports = [check_pair(TARGET, one, CheckOptions()) for one in (reader, cheap, dear)]
    assert [one.verdict for one in rank(reports)] == ["same", "mapped", "incompatible"]


def test_another_architecture_only_warns() -> None:
    draft = examine(tiny.header(tiny.mamba_bytes()))
    report = check_pair(TARGET, draft, CheckOptions())
    assert report.compatible
    assert rule(report, "family").verdict == "warn"
    assert "llama and mamba" in rule(report, "family").detail


def test_a_small_target_is_told_that_a_draft_seldom_pays() -> None:
    found = rule(
        check_pair(model(parameters=1e9), model(parameters=1e8), CheckOptions()), "model sizes"
    )
    assert found.verdict == "warn"
    assert "seldom pays" in found.detail


def test_a_context_beyond_the_training_of_the_target_warns() -> None:
    found = rule(check_pair(TARGET, TARGET, CheckOptions(context=9000)), "context")
    assert found.verdict == "warn"
    assert found.hint is not None
    assert "-c 8192" in found.hint


class TestMemory:
    def judged(self, free: FreeMemory, context: int | None = None) -> RuleResult:
        return rule(check_pair(TARGET, model(), CheckOptions(context=context, free=free)), "memory")

    def test_what_fits_into_the_machine_or_into_its_devices_passes(self) -> None:
        assert self.judged(FreeMemory(1 << 30)).verdict == "pass"
        on_device = self.judged(FreeMemory(0, (DeviceMemory("GPU0", 1 << 30),)))
        assert on_device.verdict == "pass"
        assert "1.0 GiB on GPU0" in on_device.detail

    def test_what_fits_into_neither_but_into_both_is_told_to_be_split(self) -> None:
        needs = check_pair(TARGET, model(), CheckOptions()).memory
        half = sum(need.total for need in needs) * 2 // 3
        found = self.judged(FreeMemory(half, (DeviceMemory("GPU0", half),)))
        assert found.verdict == "pass"
        assert "-ngl" in (found.hint or "")

    def test_too_long_a_context_is_told_one_that_fits(self) -> None:
        needs = check_pair(TARGET, model(), CheckOptions(context=1024)).memory
        found = self.judged(FreeMemory(sum(need.total for need in needs)), context=8192)
        assert found.verdict == "warn"
        assert "does not fit" in found.detail
        assert "-c 1024 fits" in (found.hint or "")

    def test_weights_that_are_too_large_are_told_apart(self) -> None:
        found = self.judged(FreeMemory(1000))
        assert found.verdict == "warn"
        assert "smaller quantisations" in (found.hint or "")

    def test_memory_is_not_judged_without_knowing_what_is_free(self) -> None:
        rules = check_pair(TARGET, model(), CheckOptions()).rules
        assert "memory" not in [found.rule for found in rules]


def test_ranking_puts_what_works_first_and_the_fastest_on_top() -> None:
    drafts = [
        model(BPE.with_token(7, b"x1"), parameters=1e8),
        model(parameters=4e9),
        model(parameters=1e9),
    ]
    ranked = rank([check_pair(TARGET, draft, CheckOptions()) for draft in drafts])
    assert [report.draft for report in ranked] == [drafts[2], drafts[1], drafts[0]]


def test_a_model_without_a_tokenizer_cannot_be_examined() -> None:
    with pytest.raises(ModelFileError, match="no tokenizer"):
        model(replace(BPE, model="none"))
