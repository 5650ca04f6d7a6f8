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
