"""What a text must follow, whichever library keeps it to that."""

from __future__ import annotations

from dataclasses import dataclass

from specli.errors import UsageError
from specli.llama.grammar import Grammar
from specli.llama.guidance import LARK, Guide, lark_rules, schema_rules
from specli.llama.vocab import Vocab

State = Grammar | Guide
"""Rules along one text; whoever began it closes it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A constraint in the form of the library that enforces it: llguidance, or llama.cpp (GBNF)."""

    text: str
    gbnf: bool

    def begin(self, vocab: Vocab) -> State:
        """The rules at the start of a text. Raises UsageError for GBNF that is wrong."""
        return Grammar(vocab, self.text) if self.gbnf else Guide(vocab, self.text)


def rules_of(grammar: str | None, schema: str | None) -> Rules | None:
    """What a grammar or a JSON schema demands; None where there is neither.

    A grammar that begins with `%llguidance` is Lark, any other GBNF, which is parsed when a text
    begins. Raises UsageError for what cannot be followed, and for both at once.
    """
    if schema is not None:
        if grammar is not None:
            raise UsageError("a text follows a grammar or a JSON schema, not both")
        return Rules(schema_rules(schema), gbnf=False)
    if grammar is None:
        return None
    if grammar.lstrip().startswith(LARK):
        return Rules(lark_rules(grammar), gbnf=False)
    return Rules(grammar, gbnf=True)
