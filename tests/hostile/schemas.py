"""JSON schemas, GBNF and Lark: each becomes a grammar that can be followed, or a sentence."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from specli.errors import DecodeError, UsageError
from specli.llama.constraint import rules_of
from specli.llama.guidance import LARK
from specli.llama.model import Model
from tests.hostile.entry import Entry, require_sentence

PATTERNS = (
    "^*$",
    "^[a-z]+$",
    "a{2,5}",
    "(",
    "[",
    "\\d{99999}",
    "^(a|b)*$",
    "^.{0,9}$",
    "\\",
    "(?=a)",
    "(a{900}){900}",
    "(.*a.*){40}b",
    "\\p{L}+\\b",
    "[\\x00-\\U0010ffff]{3}",
    "(?i)straße|\ud83d\ude00",
)
SIZES = (0, 1, -1, 5, 2000, 20_000, 50_000, 10**12, 1.5, "3", None)
NAMES = ("a", "", "a b", 'q"', "\n", "é", "$ref", "\ud800", "x" * 300)
TYPES = (
    "string",
    "integer",
    "number",
    "object",
    "array",
    "boolean",
    "null",
    "date",
    5,
    ["string", "null"],
)
SYMBOLS = ('"a"', "[a-z]", "[^", "(", ")", "|", "*", "+", "?", "{2}", "{0,}", "{9999}", ".", "#x\n")
WHOLE = ('"a"', "[a-z]", "[^x]*", '( "b" | "c" )+', '| "d"', '"e"{0,3}', '"f"?', "[0-9]{2}", '"é"')
PARTS = (
    *('"a"', "A", "b", "/[a-z]+/", "/(a|b)*c/", "( A | b )", "b?", "A+", "b{2,4}", "/\\\\d{3}/i"),
    *("%regex {}", '%json {"type": "integer"}', "@other", "<|im_end|>", "<[5]>", "%ignore /x/"),
    *("A{99999}", "/(x{500}){500}/", "/(/", "b | | b", "[", "~b", "start", '"\\x00"', "lazy"),
)
RULES = ("root", "a", "b", "c-1", "d")


def schema(rng: random.Random, depth: int = 3) -> Any:
    if rng.random() < 0.05:
        return rng.choice((True, False, None, [], 5, "x"))
    made: dict[str, Any] = {"type": rng.choice(TYPES)} if rng.random() < 0.8 else {}
    parts = [schema(rng, depth - 1) for _ in range(rng.randrange(3))] if depth else []
    first = parts[0] if parts else True
    options: tuple[tuple[str, Any], ...] = (
        ("pattern", rng.choice(PATTERNS)),
        ("minLength", rng.choice(SIZES)),
        ("maxLength", rng.choice(SIZES)),
        ("minItems", rng.choice(SIZES)),
        ("maxItems", rng.choice(SIZES)),
        ("minimum", rng.choice(SIZES)),
        ("maximum", rng.choice(SIZES)),
        ("enum", [rng.choice(NAMES) for _ in range(rng.randrange(4))]),
        ("const", rng.choice(NAMES)),
        ("items", first),
        ("prefixItems", parts),
        ("properties", {rng.choice(NAMES): part for part in parts}),
        ("required", [rng.choice(NAMES)]),
        ("additionalProperties", first),
        ("anyOf", parts),
        ("allOf", parts),
        ("oneOf", parts),
        ("$ref", rng.choice(("#", "#/$defs/a", "#/nothing", "https://localhost:9/x", 5))),
        ("$defs", {"a": first}),
        ("format", rng.choice(("date", "uuid", "email", "nonsense"))),
        ("type", rng.choice(TYPES)),
        ("not", first),
    )
    made.update(rng.sample(options, rng.randrange(4)))
    return made


def lark(rng: random.Random) -> str:
    parts = PARTS if rng.random() < 0.5 else PARTS[:10]
    lines = [
        f"{name}: " + " ".join(rng.choice(parts) for _ in range(rng.randrange(1, 7)))
        for name in ("start", "b", "A")
    ]
    return "\n".join([LARK + " {}", *lines])


def make(rng: random.Random) -> tuple[str, str]:
    """("schema", JSON) or ("grammar", GBNF or Lark)."""
    if rng.random() < 0.6:
        return "schema", json.dumps(schema(rng))
    if rng.random() < 0.5:
        return "grammar", lark(rng)
    names = {"root", *rng.sample(RULES, rng.randrange(1, 5))}
    # Every other grammar can be read: what is wild in it is what it says.
    symbols = (*SYMBOLS, *RULES) if rng.random() < 0.5 else (*WHOLE, *sorted(names))
    rules = [
        f"{name} ::= " + " ".join(rng.choice(symbols) for _ in range(rng.randrange(1, 9)))
        for name in sorted(names)
    ]
    return "grammar", rng.choice(("\n", "\n\n", " ")).join(rules)


@cache
def _vocabulary() -> Model:
    from tests.hostile.lines import model

    return model()


def check(given: tuple[str, str], folder: Path) -> str:
    kind, text = given
    vocab = _vocabulary().vocab
    if kind == "grammar":
        kind = "Lark" if text.startswith(LARK) else "GBNF"
    try:
        rules = rules_of(None, text) if kind == "schema" else rules_of(text, None)
        assert rules is not None
        state = rules.begin(vocab)
    except UsageError as error:
        require_sentence(error.message)
        return f"{kind} refused"
    try:
        # Any path through it must be one that can be gone.
        noise = np.random.default_rng(len(text))
        for _ in range(12):
            masked = state.mask(noise.normal(size=vocab.size).astype(np.float32))
            token = int(masked.argmax())
            if not np.isfinite(masked[token]) or vocab.is_end(token):
                break
            assert state.allows(token)
            state.accept(token)
    except DecodeError as error:
        require_sentence(error.message)
        return f"{kind} given up"
    finally:
        state.close()
    return f"{kind} followed"


ENTRY = Entry(
    "schemas",
    make,
    check,
    seeds=(
        ("schema", '{"type": "string", "pattern": "^*$"}'),
        ("schema", '{"type": "string", "maxLength": 20000}'),
        ("schema", '{"type": "array", "maxItems": 50000}'),
        ("schema", 3000 * '{"items": ' + "{}" + 3000 * "}"),
        ("grammar", ""),
        ("grammar", "root ::= " + 50_000 * "(" + '"a"' + 50_000 * ")"),
        ("grammar", "root ::= root"),
        ("grammar", 'root ::= "a" b\nb ::= c b "x" | "y"\nc ::= d\nd ::= "z"?'),
        ("grammar", '%llguidance {}\nstart: "a" b\nb: /(x{500}){500}/ b'),
        ("grammar", 'root ::= "a"\0'),
    ),
    in_ci=40,
)
