"""Constraints by llguidance: JSON schemas, and Lark grammars with regular expressions.

Tokens come from the model's own vocabulary. Where the constraint leaves one text only, its usual
tokens are the only ones allowed: so a drafter can propose them, and none of them is ever rejected.
"""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from specli.errors import DecodeError, UsageError
from specli.llama.decoder import Logits
from specli.llama.vocab import Vocab

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

LARK = "%llguidance"
"""How a Lark grammar begins, as in llama.cpp built with llguidance."""

_UNFORCED = LARK + ' {"no_forcing": true}'

# llguidance's own of version 1.9, written down so that an update does not change what is refused.
_LIMITS = LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=250_000,
    max_grammar_size=500_000,
)

_PRINTED: JsonCompileOptions = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
"""As templates and Python print JSON: with a choice of white space little would be forced, and
small models write nothing else."""

_SPECIAL = b"\xff"
"""Marks a token that is no text, in llguidance's vocabulary."""

_MOST_FORCED = 64
"""Tokens that are looked ahead for the end of a text without a choice."""

_HINTS = "use other keywords, or `grammar`"


class Guide:
    """The state of a constraint along one text: which tokens may come next.

    What is forced is found here. llguidance itself would write a text without a choice out to its
    end before the next token, and a short grammar can have gigabytes of it.
    """

    def __init__(self, vocab: Vocab, rules: str) -> None:
        """`rules` are of `schema_rules` or `lark_rules`. Raises UsageError past the limits."""
        self._words = _words(vocab)
        self._matcher = LLMatcher(self._words.tokenizer, rules, log_level=0, limits=_LIMITS)
        if self._matcher.is_error():
            raise _refused("the constraint", self._matcher.get_error())
        self._vocab, self._size = vocab, vocab.size
        self._bits: NDArray[np.uint8] | None = None
        self._forced = self._find_forced()

    def forced(self) -> list[int]:
        """The tokens that must come next, whatever the model says."""
        return self._forced

    def allows(self, token: int) -> bool:
        """Whether `token` may come next. Raises DecodeError where the limits have been reached."""
        if self._forced:
            return token == self._forced[0]
        return bool(self._allowed()[token >> 3] >> (token & 7) & 1)

    def mask(self, logits: Logits) -> NDArray[np.float32]:
        """A copy of `logits` with -inf for every token that may not come next."""
        masked = np.full(len(logits), -np.inf, dtype=np.float32)
        if self._forced:
            # Forced tokens stay possible where a bias has forbidden them.
            masked[self._forced[0]] = max(float(logits[self._forced[0]]), -1e30)
            return masked
        bits = np.unpackbits(self._allowed(), bitorder="little")[: self._size].view(bool)
        np.copyto(masked[: self._size], logits[: self._size], where=bits)
        return masked

    def accept(self, token: int) -> None:
        """Move on by a token that `allows` has allowed."""
        self._bits = None
        self._matcher.consume_token(token)
        # What is left of a forced text stays as it was cut into tokens.
        if self._forced and token == self._forced[0]:
            self._forced = self._forced[1:]
        else:
            self._forced = []
        if not self._forced:
            self._forced = self._find_forced()

    def _find_forced(self) -> list[int]:
        """The next tokens of a text that leaves no choice, as many as can be sure; mostly none."""
        ahead, data, words = self._matcher.deep_copy(), b"", self._words
        for _token in range(_MOST_FORCED):
            bits = np.frombuffer(ahead.compute_bitmask(), dtype=np.uint8)
            if ahead.is_error():
                return []
            if not data:
                self._bits = bits
            allowed = words.alike(bits)
            if allowed is None:
                break
            token = int(allowed[words.length[allowed].argmax()]) if len(allowed) else -1
            if token < 0 or self._vocab.is_end(token):
                return words.usual(data)
            if words.special[token]:
                return words.usual(data) if data else [token] if len(allowed) == 1 else []
            data += _bytes(self._vocab, token)
            ahead.consume_token(token)
        return words.usual(data, goes_on=True)

    def _allowed(self) -> NDArray[np.uint8]:
        if self._bits is None:
            bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
            if self._matcher.is_error():
                raise DecodeError(
                    f"the constraint cannot be followed further: {self._matcher.get_error()}",
                    hint="a simpler schema or grammar stays within the limits",
                )
            self._bits = bits
        return self._bits

    def close(self) -> None:
        """Nothing is left to free; `Grammar` has the same."""


def schema_rules(schema: str) -> str:
    """A JSON schema in llguidance's own form.

    An object whose properties are listed has no others, as in llama.cpp, unless the schema says so
    by `additionalProperties`. White space is that of one line, as Python prints it, unless the
    schema's `x-guidance` says otherwise. Raises UsageError, naming the keyword that cannot be
    followed.
    """
    try:
        parsed = json.loads(schema)
        parsed = {} if parsed is True else parsed
        if not isinstance(parsed, dict):
            raise UsageError(f"the JSON schema is {schema:.40}, which allows no text")
        closed = json.dumps(_closed(parsed))
        rules = LLMatcher.grammar_from_json_schema(closed, defaults=_PRINTED)
    except RecursionError:
        raise UsageError("the JSON schema is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise UsageError(
            f"the JSON schema is not valid JSON: {error}",
            hint="give the schema itself, or the name of a file that holds it",
        ) from None
    except ValueError as error:
        raise UsageError(f"the JSON schema cannot be followed: {error}") from None
    own = {**json.loads(rules)["grammars"][0], "name": "schema"}
    first = {"lark_grammar": f"{_UNFORCED}\nstart: @schema"}
    return _checked(json.dumps({"grammars": [first, own]}), "the JSON schema")


def lark_rules(lark: str) -> str:
    """A Lark grammar in llguidance's own form. Raises UsageError for one that does not parse."""
    if lark.count(LARK) > 1:
        raise UsageError(f"the grammar has {LARK} more than once", hint="it belongs on top")
    # The last one counts, whatever the first says.
    return _checked(LLMatcher.grammar_from_lark(f"{lark}\n{_UNFORCED}"), "the grammar")


def embedded_schema(schema: dict[str, Any]) -> str:
    """A JSON schema as a part of a Lark grammar, understood as in `schema_rules`."""
    return f"%json {json.dumps({'x-guidance': _PRINTED, **_closed(schema)})}"


def literal(vocab: Vocab, text: str, marks: Collection[str]) -> str:
    """A text as Lark writes it; those of `marks` that are special tokens are these tokens."""
    parts = re.split("|".join(f"({re.escape(mark)})" for mark in marks), text) if marks else [text]
    return " ".join(
        _special(vocab, part) or json.dumps(part, ensure_ascii=False) for part in parts if part
    )


def _special(vocab: Vocab, mark: str) -> str | None:
    tokens = vocab.tokenize(mark, add_special=False)
    special = len(tokens) == 1 and _bytes(vocab, tokens[0]).startswith(_SPECIAL)
    return f"<[{tokens[0]}]>" if special else None


def _checked(rules: str, what: str) -> str:
    wrong, reasons = LLMatcher.validate_grammar_with_warnings(rules, limits=_LIMITS)
    if wrong:
        raise _refused(what, reasons[0])
    return rules


_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "additionalItems")
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_OPENING = ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "$ref")


def _closed(schema: Any) -> Any:
    """The schema with no further properties where it lists some; what is data stays as it is."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for key in _SCHEMAS:
        if key in found:
            found[key] = _closed(found[key])
    for key in _LISTS:
        if isinstance(found.get(key), list):
            found[key] = [_closed(one) for one in found[key]]
    for key in _NAMED:
        if isinstance(found.get(key), dict):
            found[key] = {name: _closed(one) for name, one in found[key].items()}
    if "properties" in found and not any(key in found for key in _OPENING):
        found["additionalProperties"] = False
    return found


def _refused(what: str, reason: str) -> UsageError:
    unknown = re.match(r"Unimplemented keys: (\[.*\])", reason)
    if unknown is not None:
        keys = ", ".join(json.loads(unknown[1]))
        return UsageError(f"{what} uses {keys}, which cannot be followed", hint=_HINTS)
    return UsageError(f"{what} cannot be followed: {' '.join(reason.split())[:300]}")


@dataclass(frozen=True, slots=True)
class _Words:
    """llguidance's view of a vocabulary; for each token its first byte and its length, and whether
    it is no text."""

    tokenizer: LLTokenizer
    first: NDArray[np.uint8]
    length: NDArray[np.int32]
    special: NDArray[np.bool_]

    def alike(self, bits: NDArray[np.uint8]) -> NDArray[np.intp] | None:
        """The tokens of a mask, None where they do not all begin with the same byte."""
        places = np.flatnonzero(bits)
        for some in (places[[0, -1]] if len(places) else places, places):
            found = np.unpackbits(bits[some, None], axis=1, bitorder="little")
            tokens = (8 * some[:, None] + np.arange(8))[found.astype(bool)]
            tokens = tokens[tokens < len(self.first)]
            if len(tokens) and (self.first[tokens] != self.first[tokens[0]]).any():
                return None
        return tokens

    def usual(self, data: bytes, *, goes_on: bool = False) -> list[int]:
        """The tokens that are usual for a text; where it goes on, those that no end can change.

        None where they would put a space before it, as some vocabularies have it.
        """
        if not data:
            return []
        rest = b""
        if goes_on:
            tokens, rest = self.tokenizer.tokenize_partial(data)
        else:
            tokens = self.tokenizer.tokenize_bytes(data)
        return tokens if self.tokenizer.decode_bytes(tokens) + rest == data else []


def _words(vocab: Vocab) -> _Words:
    """Made once: a second or two for 262,000 tokens."""
    if vocab.guidance is None:
        tokenize = ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value
        pieces = [_bytes(vocab, token) for token in range(vocab.size)]
        tokenizer = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=pieces,
            vocab_ptr=ctypes.cast(vocab.handle, ctypes.c_void_p).value,
            tokenize_fptr=tokenize,
            eos_token=[token for token in range(vocab.size) if vocab.is_end(token)],
        )
        vocab.guidance = _Words(
            tokenizer,
            np.array([piece[0] if piece else 0 for piece in pieces], dtype=np.uint8),
            np.array([len(piece) for piece in pieces], dtype=np.int32),
            np.array([len(piece) > 1 and piece.startswith(_SPECIAL) for piece in pieces]),
        )
    words: _Words = vocab.guidance
    return words


def _bytes(vocab: Vocab, token: int) -> bytes:
    attributes = llama_cpp.llama_vocab_get_attr(vocab.handle, token)
    piece = vocab.name_bytes(token)
    special = attributes & (llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN)
    own = attributes & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    if special or (own and piece.startswith(b"<") and piece.endswith(b">")):
        return _SPECIAL + piece
    return piece
