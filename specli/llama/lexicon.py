"""Which token of one vocabulary corresponds to which of another, and how much text that covers.

Families spell tokens differently: SentencePiece writes a space as "▁" and a lone byte as <0x0A>,
byte-level BPE has an alphabet of its own. Tokens are compared by the bytes that they encode.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from specli.gguf.header import Header
from specli.gguf.tokenizer import BYTE_TOKEN, Tokenizer, read_tokenizer
from specli.llama.vocab import Vocab

NO_TOKEN = -1

_ROLES = ("eos", "bos", "eot", "eom", "padding", "unknown")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The bytes that the tokens of a vocabulary encode.

    `pieces` are the bytes of each token, none for special ones, `spelled` its text in the file.
    `roles` are the ids of special tokens by what they do.
    """

    model: str
    spelled: Sequence[bytes]
    pieces: Sequence[bytes]
    lone_bytes: frozenset[int]
    roles: dict[str, int]

    def __len__(self) -> int:
        return len(self.spelled)


def read_lexicon(header: Header, vocab: Vocab, tokenizer: Tokenizer | None = None) -> Lexicon:
    """The vocabulary of a header, with the pieces that llama.cpp makes of its tokens.

    `tokenizer` is the header's, where it has been read already.
    """
    tokenizer = tokenizer or read_tokenizer(header)
    types = header.numbers("tokenizer.ggml.token_type") or ()
    given = {role: header.integer(f"tokenizer.ggml.{role}_token_id") for role in _ROLES}
    given |= {"bos": tokenizer.bos, "eos": tokenizer.eos}
    return Lexicon(
        model=tokenizer.model,
        spelled=tokenizer.texts,
        pieces=_pieces(tokenizer, types, vocab),
        lone_bytes=frozenset(token for token, kind in enumerate(types) if kind == BYTE_TOKEN),
        roles={
            role: token
            for role, token in given.items()
            if token is not None and 0 <= token < len(tokenizer)
        },
    )


def _pieces(tokenizer: Tokenizer, types: Sequence[int | float], vocab: Vocab) -> Sequence[bytes]:
    """What each token encodes: for tokens of mere text from how the file spells them, which takes a
    fifth of the time of asking llama.cpp for each."""
    texts = tokenizer.texts
    if tokenizer.model == "llama":
        spelled_out = b"\0".join(texts).replace("▁".encode(), b" ").split(b"\0")
        found = [
            piece if kind == _NORMAL and not _MAY_BE_SPECIAL.search(piece) else None
            for piece, kind in zip(spelled_out, types, strict=False)
        ]
    elif tokenizer.model == "gpt2":
        found = [
            _of_alphabet(text) if kind == _NORMAL else None
            for text, kind in zip(texts, types, strict=False)
        ]
    else:
        return vocab.pieces()
    found += [None] * (len(texts) - len(found))
    return [vocab.piece(n) if piece is None else piece for n, piece in enumerate(found)]


_NORMAL = 1
_MAY_BE_SPECIAL = re.compile(rb"[<\[|]")
"""llama.cpp takes some tokens of the type of mere text for control tokens, by their names."""


def _alphabet() -> dict[int, int]:
    """The byte that each character of GPT-2's byte-level alphabet stands for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return {byte if byte in printable else next(spare): byte for byte in range(256)}


_ALPHABET = _alphabet()
_OF_ALPHABET = re.compile(f"[{re.escape(''.join(set(map(chr, _ALPHABET)) - set('<[|')))}]+")


def _of_alphabet(text: bytes) -> bytes | None:
    """The bytes of a text in the byte-level alphabet; None for any other."""
    try:
        string = text.decode()
    except UnicodeDecodeError:
        return None
    return string.translate(_ALPHABET).encode("latin-1") if _OF_ALPHABET.fullmatch(string) else None


def match(target: Lexicon, donor: Lexicon) -> list[int]:
    """The donor's token for each of the target's, `NO_TOKEN` where it has none.

    No token of the donor is paired with two of the target's: they would always tie, and the lower
    one, often a lone byte that no text holds, would be drafted.
    """
    found = [NO_TOKEN] * len(target)
    taken: set[int] = set()
    same_spelling = target.model == donor.model

    def spellings(one: Lexicon) -> Keys:
        if same_spelling:
            return one.spelled
        pairs = zip(one.spelled, one.pieces, strict=True)
        return [None if piece else spelling for spelling, piece in pairs]

    def pieces_of_a_kind(one: Lexicon) -> Keys:
        lone = one.lone_bytes
        return [
            (piece,) if piece and token in lone else piece or None
            for token, piece in enumerate(one.pieces)
        ]

    def pieces(one: Lexicon) -> Keys:
        return [piece or None for piece in one.pieces]

    for keys in (spellings, pieces_of_a_kind, pieces):
        _pair_up(keys(target), keys(donor), found, taken)
    for role, token in target.roles.items():
        other = donor.roles.get(role)
        if found[token] == NO_TOKEN and other is not None and other not in taken:
            found[token] = other
            taken.add(other)
    return found


Keys = Sequence[Hashable | None]
"""What each token of a vocabulary is paired by; None for those that are not."""


def _pair_up(target: Keys, donor: Keys, found: list[int], taken: set[int]) -> None:
    """Pair the unpaired tokens by a key; of several with the same key, the lowest ids first."""
    free: dict[Hashable, int] = {}
    for token, key in enumerate(donor):
        if key is not None and token not in taken:
            free.setdefault(key, token)
    for token in [token for token, key in enumerate(target) if key in free]:
        if found[token] == NO_TOKEN and (other := free.pop(target[token], None)) is not None:
            found[token] = other
            taken.add(other)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Tokens of the target that the donor has: in the vocabulary, and in sample texts."""

    matched: int
    size: int
    used_matched: int
    used: int

    @property
    def of_vocabulary(self) -> float:
        return self.matched / self.size

    @property
    def of_text(self) -> float:
        return self.used_matched / self.used

    def __str__(self) -> str:
        return (
            f"{self.matched} of {self.size} tokens ({self.of_vocabulary:.1%}), which make "
            f"{self.of_text:.1%} of sample texts"
        )


def overlap(found: Sequence[int], used: Sequence[int]) -> Overlap:
    """How much `found` covers, of the vocabulary and of the tokens `used` in texts."""
    matched = sum(token != NO_TOKEN for token in found)
    used_matched = sum(found[token] != NO_TOKEN for token in used)
    return Overlap(matched, len(found), used_matched, len(used))


def parts(
    found: Sequence[int], target: Lexicon, donor: Lexicon, vocab: Vocab
) -> dict[int, list[int]]:
    """For tokens without a counterpart, the donor's tokens that make up the same bytes.

    Special tokens have none, nor those that would be one token: another has that one already.
    """
    known, longest = by_piece(donor)
    made = {}
    for token, other in enumerate(found):
        piece = target.pieces[token]
        if other == NO_TOKEN and piece:
            split = spelled(piece, vocab) or longest_first(piece, known, longest)
            if len(split) > 1:
                made[token] = split
    return made


def by_piece(words: Lexicon) -> tuple[dict[bytes, int], int]:
    """The token that encodes each piece of text, and the bytes of the longest piece."""
    known: dict[bytes, int] = {}
    for token, piece in enumerate(words.pieces):
        # Lone bytes are for text without a token of its own.
        if piece and (piece not in known or known[piece] in words.lone_bytes):
            known[piece] = token
    return known, max(map(len, known), default=0)


def spelled(text: bytes, vocab: Vocab) -> list[int]:
    """What the tokenizer makes of a part of a text; nothing where that encodes other bytes.

    After a line break, a tokenizer that puts a space before every text does not add one.
    """
    try:
        string = text.decode()
    except UnicodeDecodeError:
        return []
    tokens = vocab.tokenize(string, add_special=False, parse_special=False)
    if _bytes(tokens, vocab) == text:
        return tokens
    line = vocab.tokenize("\n", add_special=False, parse_special=False)
    tokens = vocab.tokenize("\n" + string, add_special=False, parse_special=False)
    rest = tokens[len(line) :]
    return rest if tokens[: len(line)] == line and _bytes(rest, vocab) == text else []


def _bytes(tokens: Sequence[int], vocab: Vocab) -> bytes:
    return b"".join(map(vocab.piece, tokens))


def longest_first(piece: bytes, known: dict[bytes, int], longest: int) -> list[int]:
    """The piece cut from the left into the longest known pieces; nothing where a byte lacks."""
    tokens = []
    start = 0
    while start < len(piece):
        for end in range(min(len(piece), start + longest), start, -1):
            token = known.get(piece[start:end])
            if token is not None:
                break
        else:
            return []
        tokens.append(token)
        start = end
    return tokens
