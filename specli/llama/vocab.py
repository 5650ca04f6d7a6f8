"""Text to tokens and back, as the model's own tokenizer does it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp

_LONGEST_TAIL = 20  # MAX_SEQ_LEN of llama_sampler_init_dry


class Vocab:
    """A model's vocabulary. It borrows the model's handle and must not outlive it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.size: int = llama_cpp.llama_vocab_n_tokens(handle)
        self.bos: int = llama_cpp.llama_vocab_bos(handle)
        self.eos: int = llama_cpp.llama_vocab_eos(handle)
        self.adds_bos: bool = llama_cpp.llama_vocab_get_add_bos(handle)
        eot: int = llama_cpp.llama_vocab_eot(handle)
        self.turn_end = self.eos if eot < 0 else eot
        self.mask: int = llama_cpp.llama_vocab_mask(handle)
        """Stands for a token to be filled in; -1 where the model has none."""
        self._pieces: dict[int, bytes] = {}
        self._ends: dict[int, bool] = {}
        self._breakers: dict[tuple[str, ...], dict[int, list[list[int]]]] = {}
        self.guidance: Any = None
        """What `llama.guidance` has made of it."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation (EOS, end of turn and their like)."""
        known = self._ends.get(token)
        if known is None:
            known = self._ends[token] = llama_cpp.llama_vocab_is_eog(self.handle, token)
        return known

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool = True) -> list[int]:
        """Tokens of `text`; `add_special` adds BOS and EOS where the model wants them."""
        data = text.encode("utf-8", "surrogateescape")
        room = len(data) + 8
        while True:
            buffer = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(
                self.handle, data, len(data), buffer, room, add_special, parse_special
            )
            if count >= 0:
                return list(buffer[:count])
            room = -count

    def piece(self, token: int) -> bytes:
        """The bytes of one token, often a part of a character; control tokens have none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._render(token, special=False)
        return known

    def pieces(self) -> list[bytes]:
        """`piece` of every token, much faster than one by one."""
        room = 256
        buffer = ctypes.create_string_buffer(room)
        render, handle = llama_cpp.llama_token_to_piece, self.handle
        found = []
        for token in range(self.size):
            count = render(handle, token, buffer, room, 0, False)
            found.append(buffer.raw[:count] if count >= 0 else self.piece(token))
        return found

    def breakers(self, texts: tuple[str, ...]) -> dict[int, list[list[int]]]:
        """Where each of `texts` may begin: tokens that hold or begin it, and the tokens of the
        rest; as `get_overlapping_token_sequences` of llama.cpp's src/llama-sampler.cpp."""
        if texts in self._breakers:
            return self._breakers[texts]
        found = self._breakers[texts] = {}
        for token in range(self.size):
            word = self._render(token, special=True)
            for text in texts:
                for rest in _rests(word, text.encode()):
                    tail = self._tail(rest)
                    if tail not in found.setdefault(token, []):
                        found[token].append(tail)
        return found

    def _tail(self, rest: bytes) -> list[int]:
        text = rest.decode("utf-8", "surrogateescape")
        tokens = self.tokenize(text, add_special=False, parse_special=False) if rest else []
        return tokens[:_LONGEST_TAIL]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode("utf-8", "replace")

    def name(self, token: int) -> str:
        """A token as a person would want to see it, control tokens by their name."""
        return self.name_bytes(token).decode("utf-8", "replace")

    def name_bytes(self, token: int) -> bytes:
        return self._render(token, special=True)

    def _render(self, token: int, *, special: bool) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = llama_cpp.llama_token_to_piece(self.handle, token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count


def _rests(word: bytes, text: bytes) -> list[bytes]:
    """What of `text` must follow `word`: nothing where it is inside, else what its end leaves."""
    if text in word:
        return [b""]
    return [
        text[size:]
        for size in range(1, min(len(word), len(text) - 1) + 1)
        if word.endswith(text[:size])
    ]
