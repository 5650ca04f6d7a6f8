"""A text in the tokens of another vocabulary, and tokens from one vocabulary to another.

The pairing by the bytes that tokens encode, and drafting within what both vocabularies have, is
token-level intersection (Timor et al. 2025, arXiv 2502.05202); where a text has few common tokens,
drafted text is tokenized again, as in transformers' universal assisted decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from specli.gguf.header import Header
from specli.gguf.tokenizer import Tokenizer
from specli.llama.lexicon import NO_TOKEN, by_piece, longest_first, match, read_lexicon, spelled
from specli.llama.vocab import Vocab

TURN_STARTS = ("<|im_start|>", "<start_of_turn>", "<|start_header_id|>", "<|start_of_role|>")
"""What begins a turn in the chat templates of ChatML, Gemma, Llama 3 and Granite."""

ALIKE = 0.98
"""Vocabularies with so many tokens in common have one origin: they differ in added tokens, ids
or padding."""

SETTLED_AFTER = 64
"""Tokens at the end of a text that may still be split differently once more text follows.

Byte pairs merge within a word; no word of a text is nearly as long."""

CONTEXT = 8
"""Tokens of the target before a drafted text with which it is tokenized again."""


class Translation:
    """How the tokens of a target and of a draft correspond. It borrows both vocabularies."""

    def __init__(
        self,
        target: Vocab,
        draft: Vocab,
        target_header: Header,
        draft_header: Header,
        tokenizers: tuple[Tokenizer, Tokenizer] | tuple[None, None] = (None, None),
    ) -> None:
        """Pairs tokens that encode the same bytes; `tokenizers` are the headers', where they have
        been read. Raises ModelFileError for headers whose tokenizer cannot be read."""
        self.target = target
        self.draft = draft
        words = read_lexicon(target_header, target, tokenizers[0])
        own = read_lexicon(draft_header, draft, tokenizers[1])
        found = match(words, own)
        found[target.bos] = NO_TOKEN
        _pair(found, target.turn_end, draft.turn_end)
        _pair(found, _turn_start(target), _turn_start(draft))
        self.to_draft = found
        paired = np.array(found, dtype=np.int64)
        self.target_ids: NDArray[np.int64] = np.flatnonzero(paired != NO_TOKEN)
        self.draft_ids: NDArray[np.int64] = paired[self.target_ids]
        self._to_target = dict(zip(self.draft_ids.tolist(), self.target_ids.tolist(), strict=True))
        self._known = by_piece(own)
        self.alike = len(self.target_ids) >= ALIKE * target.size
        """Whether texts can be translated token by token: the draft splits them alike."""

    @property
    def shared(self) -> int:
        """Tokens that both have."""
        return len(self.target_ids)

    def to_target(self, token: int) -> int | None:
        """The target's token for one of the draft's."""
        return self._to_target.get(token)

    def share(self, tokens: Sequence[int]) -> float:
        """The share of the target's `tokens` with text that the draft has too; 1 without any."""
        known = [self.to_draft[token] != NO_TOKEN for token in tokens if self.target.piece(token)]
        return sum(known) / len(known) if known else 1.0

    def spelled(self, text: bytes) -> list[int]:
        """The draft's tokens for a part of a text; bytes that it cannot encode are left out."""
        whole = _whole_characters(text)
        head, rest = text[:whole], text[whole:]
        return (spelled(head, self.draft) or longest_first(head, *self._known)) + longest_first(
            rest, *self._known
        )

    def respelled(self, before: Sequence[int], added: bytes) -> list[tuple[int, int]]:
        """The target's tokens for text that follows its tokens `before`, each with the number of
        bytes of `added` up to its end; nothing where a token would span the two, and where this
        is no text."""
        context = b""
        for token in reversed(before[-CONTEXT:]):
            piece = self.target.piece(token)
            if not piece:
                break
            context = piece + context
        tokens = spelled(context + added, self.target)
        ends = np.cumsum([len(self.target.piece(token)) for token in tokens]) - len(context)
        if context and 0 not in ends:
            return []
        return [(token, end) for token, end in zip(tokens, ends.tolist(), strict=True) if end > 0]


@dataclass(slots=True)
class Translated:
    """One sequence of the target in the draft's tokens."""

    translation: Translation
    tokens: list[int] = field(default_factory=list)
    seen: int = 0
    """Tokens of the target that `tokens` stands for."""
    settled: int = 0
    """So many of `tokens` stay as they are, whatever follows."""
    _tail: bytes = b""

    def extend(self, tokens: Sequence[int]) -> None:
        """The sequence goes on with the target's `tokens`."""
        translation = self.translation
        if not self.seen and translation.draft.adds_bos:
            self._settle([translation.draft.bos], 0)
        pieces = [self._tail]
        for token in tokens:
            piece, other = translation.target.piece(token), translation.to_draft[token]
            if other != NO_TOKEN and (translation.alike or not piece):
                self._tail, pieces = b"".join(pieces), []
                self._settle([*translation.spelled(self._tail), other], len(self._tail))
            else:
                pieces.append(piece)
        self._tail = b"".join(pieces)
        self.seen += len(tokens)
        split = translation.spelled(self._tail)
        kept = _word_start([translation.draft.piece(token) for token in split])
        self._settle(split[:kept], sum(len(translation.draft.piece(one)) for one in split[:kept]))
        self.tokens += split[kept:]

    def _settle(self, tokens: list[int], size: int) -> None:
        """`tokens` stand for the first `size` bytes of the tail, for good."""
        self.tokens[self.settled :] = tokens
        self.settled += len(tokens)
        self._tail = self._tail[size:]


def _word_start(pieces: Sequence[bytes]) -> int:
    """Where the last word begins before the end that may still be split differently; 0 for none."""
    if len(pieces) <= SETTLED_AFTER:
        return 0
    last = len(pieces) - SETTLED_AFTER // 2
    words = (index for index in range(last, 0, -1) if pieces[index][:1] in (b" ", b"\n"))
    characters = (index for index in range(last, 0, -1) if not _continues(pieces[index]))
    return next(words, next(characters, 0))


def _continues(piece: bytes) -> bool:
    """Whether a piece begins within a character of UTF-8."""
    return 0x80 <= piece[0] < 0xC0


def _whole_characters(text: bytes) -> int:
    """The bytes of `text` without a character of UTF-8 that is cut off at its end."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.start if error.end == len(text) else len(text)
    return len(text)


def _pair(found: list[int], own: int, other: int) -> None:
    """Pair two tokens, where both exist, and no other one with either."""
    if own == NO_TOKEN or other == NO_TOKEN:
        return
    if other in found:
        found[found.index(other)] = NO_TOKEN
    found[own] = other


def _turn_start(vocab: Vocab) -> int:
    for text in TURN_STARTS:
        tokens = vocab.tokenize(text, add_special=False)
        if len(tokens) == 1 and not vocab.piece(tokens[0]):
            return tokens[0]
    return NO_TOKEN
