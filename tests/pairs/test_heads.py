from __future__ import annotations

from pathlib import Path

import pytest

from specli.errors import PairIncompatibleError
from specli.gguf.facts import read_facts
from specli.gguf.header import Header
from specli.gguf.heads import head_kind, read_head, read_mtp_layers
from specli.pairs.heads import described, head_rules, mtp_graph, require_head
from tests import tiny_gguf, tiny_heads, tiny_mtp
from tests.tiny_heads import CYCLE, SHAPE, Tiny

LLAMA = tiny_heads.llama_target()


def header(made: Tiny) -> Header:
    return tiny_gguf.header(made.bytes())


def broken(target: Tiny, head: Tiny) -> str:
    """Why a head cannot draft for a target."""
    facts = read_head(header(head))
    assert facts is not None
    with pytest.raises(PairIncompatibleError) as refused:
        require_head(header(target), header(head), facts, "t.gguf", "h.gguf")
    assert refused.value.message.startswith("h.gguf cannot draft for t.gguf: ")
    assert refused.value.hint
    return refused.value.message.removeprefix("h.gguf cannot draft for t.gguf: ")


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (tiny_heads.eagle3_head(), "draft-eagle3"),
        (tiny_heads.dflash_head(), "draft-dflash"),
        (tiny_heads.dspark_head(), "draft-dspark"),
        (tiny_mtp.gemma4_assistant(), "draft-mtp"),
        (tiny_mtp.head_only(tiny_mtp.glm4moe()), "draft-mtp"),
        (tiny_mtp.glm4moe(), None),
        (tiny_mtp.without_heads(tiny_mtp.glm4moe()), None),
        (LLAMA, None),
    ],
)
def test_a_header_says_which_drafter_a_file_is_a_head_for(made: Tiny, kind: str | None) -> None:
    assert head_kind(header(made)) == kind


def test_an_eagle3_head_names_what_it_reads_and_proposes() -> None:
    facts = read_head(header(tiny_heads.eagle3_head(draft_vocabulary=CYCLE[:32])))

    assert facts is not None
    assert facts.target_layers == (1, 2, 3)
    assert facts.hidden_size == SHAPE.n_embd
    assert (facts.draft_vocabulary, facts.vocabulary, facts.share) == (32, 320, 0.1)
    assert facts.longest is None


@pytest.mark.parametrize(
    ("made", "longest"),
    [
        (tiny_heads.dflash_head(block_size=8), 7),
        (tiny_heads.dspark_head(block_size=8), 8),
        (tiny_heads.dspark_head(block_size=8, sample_from_anchor=False), 7),
    ],
)
def test_a_block_bounds_the_proposals_of_a_head(made: Tiny, longest: int) -> None:
    facts = read_head(header(made))

    assert facts is not None
    assert facts.longest == longest


def test_mtp_layers_inside_a_target_are_counted_with_their_bytes() -> None:
    made = tiny_mtp.step35()
    facts = read_mtp_layers(header(made))

    assert facts is not None
    assert facts.layers == facts.longest == 3
    end = SHAPE.layers
    own = [one.nbytes for name, one in made.tensors.items() if name.startswith("blk.")]
    trunk = [
        one.nbytes
        for name, one in made.tensors.items()
        if name.startswith("blk.") and int(name.split(".")[1]) < end
    ]
    assert facts.weight_bytes == sum(own) - sum(trunk)


def test_a_target_whose_mtp_layers_were_left_out_of_the_file_has_none() -> None:
    assert read_mtp_layers(header(tiny_mtp.without_heads(tiny_mtp.glm4moe()))) is None


@pytest.mark.parametrize(
    ("target", "head"),
    [
        (LLAMA, tiny_heads.eagle3_head()),
        (LLAMA, tiny_heads.dspark_head()),
        (tiny_mtp.lfm2(), tiny_heads.dflash_head()),
        (tiny_mtp.gemma4(), tiny_mtp.gemma4_assistant()),
        (tiny_mtp.glm4moe(), tiny_mtp.head_only(tiny_mtp.glm4moe())),
        (tiny_mtp.nemotron_h_moe(), tiny_heads.eagle3_head(layers=(1, 2, 4))),
    ],
)
def test_heads_of_their_targets_break_no_rule(target: Tiny, head: Tiny) -> None:
    facts = read_head(header(head))

    assert facts is not None
    require_head(header(target), header(head), facts, "t.gguf", "h.gguf")


def test_a_head_for_another_hidden_size_is_refused_with_both_sizes() -> None:
    assert broken(LLAMA, tiny_heads.eagle3_head(target_width=64)) == (
        "this head was made for a hidden size of 64; the target has 128"
    )


def test_a_head_that_reads_a_layer_that_is_not_there_is_refused() -> None:
    assert broken(LLAMA, tiny_heads.eagle3_head(layers=(1, 2, 40))) == (
        "the head reads layer 40; the target has layers 0 to 3"
    )


def test_the_output_of_the_last_layer_is_one_that_llama_does_not_publish() -> None:
    assert "reads layer 4" in broken(LLAMA, tiny_heads.eagle3_head(layers=(1, 2, 4)))


def test_an_architecture_that_publishes_no_layer_inputs_is_refused() -> None:
    target = tiny_heads.llama_target(architecture="qwen2")

    assert broken(target, tiny_heads.eagle3_head()) == (
        "llama.cpp gives no hidden states of the architecture 'qwen2'"
    )


def test_a_dflash2_head_is_refused() -> None:
    head = tiny_heads.dflash_head().with_fields(selector_top_k=4)

    assert broken(LLAMA, head) == "it is a DFlash2 head, whose selector specli does not have"


def test_a_head_for_another_vocabulary_is_refused() -> None:
    other = tiny_heads.eagle3_head(vocabulary=tiny_gguf.bpe_vocabulary(330))
    foreign = tiny_heads.eagle3_head(
        vocabulary=tiny_gguf.bpe_vocabulary().with_token(40, b"foreign")
    )

    assert broken(LLAMA, other) == "the head was made for 330 tokens; the target has 320"
    assert "token 40 is" in broken(LLAMA, foreign)


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (tiny_mtp.qwen35(heads=tiny_mtp.THREE_HEADS), "llama.cpp drafts with one of 'qwen35' only"),
        (tiny_mtp.glm4moe(), "one, used at every draft step"),
        (tiny_mtp.step35(), "3, one for each draft step"),
    ],
)
def test_mtp_layers_are_counted_against_what_llama_cpp_can_run(made: Tiny, detail: str) -> None:
    facts = read_mtp_layers(header(made))

    assert facts is not None
    result = mtp_graph(read_facts(header(made)), facts)
    assert detail in result.detail
    assert (result.verdict == "fail") == ("only" in detail)


def test_mtp_layers_of_an_architecture_without_a_graph_are_refused() -> None:
    made = tiny_mtp.glm4moe()
    fields = {key.replace("glm4moe", "exaone-moe"): value for key, value in made.fields.items()}
    renamed = Tiny({**fields, "general.architecture": "exaone-moe"}, made.tensors)
    facts = read_mtp_layers(header(renamed))

    assert facts is not None
    result = mtp_graph(read_facts(header(renamed)), facts)
    assert result.verdict == "fail"
    assert result.detail == "llama.cpp keeps those of 'exaone-moe' but cannot run them"


def test_mtp_layers_of_another_architecture_are_refused() -> None:
    head = tiny_mtp.head_only(tiny_mtp.glm4moe())

    assert broken(LLAMA, head) == "they are layers of 'glm4moe', and the target is 'llama'"
    assert broken(LLAMA, tiny_mtp.gemma4_assistant()) == (
        "gemma4-assistant drafts for gemma4, and the target is 'llama'"
    )


def test_a_head_is_described_in_one_line() -> None:
    facts = read_head(header(tiny_heads.dspark_head()))

    assert facts is not None
    assert described(facts).startswith("draft-dspark, 1 layer, ")
    assert described(facts).endswith(
        "reads layers 1, 2, 3, up to 8 tokens at once, says how sure it is"
    )


def test_a_reduced_vocabulary_is_told_with_its_share(tmp_path: Path) -> None:
    del tmp_path
    head = header(tiny_heads.eagle3_head(draft_vocabulary=CYCLE[:32]))
    target = header(LLAMA)
    facts = read_head(head)

    assert facts is not None
    from specli.gguf.tokenizer import read_tokenizer

    rules = head_rules(read_facts(target), facts, read_tokenizer(target), read_tokenizer(head))
    assert rules[-1].detail == "proposes 32 of 320 tokens (10 %)"
