"""Grammars are tried in a child process: llama.cpp's parser recurses, and may never end.

Parentheses or rules nested some ten thousand deep overflow its stack, which ends the process, and
thirty rules that each repeat the next one twice keep it busy for hours. So do rules that begin with
themselves.

    python -m specli.llama.grammar_trial      see `specli.llama.child`
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from specli.errors import UsageError
from specli.llama.child import Child, ChildError, serve

SECONDS = 10
MEMORY = 1 << 30

MOST_BYTES = 1 << 20
"""Size of a grammar; those of the largest JSON schemas have some 100 kB."""

MOST_NESTED = 500
"""Open parentheses; llama.cpp's parser overflows a stack of 8 MiB at 10,000 to 20,000."""

_RULE = re.compile(r"([A-Za-z0-9-]+)\s*::=")
_EVERY = "specli-every-rule"

_child = Child("specli.llama.grammar_trial", SECONDS)


@lru_cache(maxsize=256)
def require_harmless(gbnf: str, root: str) -> None:
    """Raises UsageError for a grammar that is empty, or that llama.cpp could not read in time.

    One that does not parse passes: whoever parses it says why.
    """
    if not gbnf.strip() or "\0" in gbnf:
        raise UsageError(
            "the grammar is empty" if not gbnf.strip() else "the grammar has a NUL character",
            hint=f"it must be GBNF with a rule called {root!r}",
        )
    if len(gbnf) > MOST_BYTES:
        raise UsageError(f"the grammar has more than {MOST_BYTES >> 20} MiB")
    if _deepest(gbnf) > MOST_NESTED:
        raise UsageError(
            f"the grammar has more than {MOST_NESTED} open parentheses at once",
            hint="give its parts rules of their own",
        )
    try:
        _child.ask({"gbnf": gbnf, "root": root})
    except ChildError as error:
        raise UsageError(
            f"llama.cpp cannot read the grammar: {error}",
            hint="write rules that are nested less, and none that may begin with itself",
        ) from None


def _deepest(gbnf: str) -> int:
    """An upper bound of the open parentheses: those in literals count too."""
    depth = deepest = 0
    for character in gbnf:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
        depth = max(depth, 0)
    return deepest


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from specli.llama import library

    library.start()
    gbnf, root = request["gbnf"], request["root"]
    if _parses(gbnf, root):
        # llama.cpp finds a rule that begins with itself after rules that may be empty only when a
        # text comes to it, and then computes stacks for ever: every rule is begun here.
        names = sorted(set(_RULE.findall(gbnf)))
        every = f"{_EVERY} ::= {' | '.join(names)}\n{gbnf}"
        if not _parses(every, _EVERY):
            for name in names:
                # One of them is no rule, but a part of a literal or a comment.
                _parses(gbnf, name)
    return {}


def _parses(gbnf: str, root: str) -> bool:
    import llama_cpp

    # The vocabulary is looked at when tokens are judged, not here.
    handle = llama_cpp.llama_sampler_init_grammar(None, gbnf.encode(), root.encode())
    if handle:
        llama_cpp.llama_sampler_free(handle)
    return bool(handle)


if __name__ == "__main__":
    serve(_answer, MEMORY, SECONDS)
