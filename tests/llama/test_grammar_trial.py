"""A grammar that would end the process, or never be read, is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from specli.errors import UsageError
from specli.llama import grammar_trial
from specli.llama.child import Child
from specli.llama.grammar import Grammar
from specli.llama.model import Model, ModelOptions
from tests import tiny_gguf as tiny


def doubled(count: int) -> str:
    """Rules that each repeat the next one twice, and may be empty."""
    rules = [f"r{number} ::= r{number + 1} r{number + 1}" for number in range(count)]
    return "\n".join(["root ::= r0", *rules, f'r{count} ::= "a"?'])


def chained(count: int) -> str:
    rules = [f"r{number} ::= r{number + 1}" for number in range(count)]
    return "\n".join(["root ::= r0", *rules, f'r{count} ::= "a"'])


BEGIN_WITH_THEMSELVES = (
    'root ::= "a" b\nb ::= c b "x" | "y"\nc ::= d\nd ::= "z"?',
    'a ::= c | "a"\nc ::= d [^x]* c "f"? c\nd ::= [^x]*\nroot ::= [a-z] c # no ::= rule',
)
"""After a first token, and after rules of which only a further one shows that they may be empty."""


@pytest.mark.parametrize("gbnf", BEGIN_WITH_THEMSELVES)
def test_a_rule_that_begins_with_itself_somewhere_in_the_text_is_refused(gbnf: str) -> None:
    with pytest.raises(UsageError, match="cannot read the grammar") as refused:
        grammar_trial.require_harmless(gbnf, "root")
    assert refused.value.hint is not None
    assert "begin with itself" in refused.value.hint


def test_what_looks_like_a_rule_in_a_literal_or_a_comment_is_none() -> None:
    gbnf = 'root ::= "q ::= r" s\ns ::= [a-z]+ # t ::= u\n'
    grammar_trial.require_harmless(gbnf, "root")


def test_grammars_that_overflow_a_stack_or_never_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny.llama_bytes())
    child = Child("specli.llama.grammar_trial", 3.0)
    monkeypatch.setattr(grammar_trial, "_child", child)
    grammar_trial.require_harmless.cache_clear()
    nested = "root ::= " + 501 * "(" + '"a"' + 501 * ")"
    refused = {
        "": "the grammar is empty",
        " \n": "the grammar is empty",
        'root ::= "a"\0': "NUL",
        nested: "more than 500 open parentheses",
        "#" + (1 << 20) * "x": "more than 1 MiB",
        chained(100_000)[: 1 << 20]: "llama.cpp cannot read the grammar|does not parse",
        doubled(30): "did not end within 3 seconds|it needs more|ended the process",
        "root ::= (": "does not parse",
    }
    with Model(path, ModelOptions(vocab_only=True)) as model:
        for gbnf, reason in refused.items():
            with pytest.raises(UsageError, match=reason):
                Grammar(model.vocab, gbnf)
        for gbnf in ('root ::= "a"', nested.replace("(((", "").replace(")))", ""), doubled(5)):
            Grammar(model.vocab, gbnf).close()
    child.close()
