"""The target's own answers, and what a candidate would have said in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from specli.llama.decoder import Decoder, Logits
from specli.making.score import Echo

ROWS = 64
"""Logits that one batch asks for: each is as long as the vocabulary."""

FEWEST = 16
"""Tokens of each answer that are waited for, however slow the target is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt and the target's greedy continuation, in tokens."""

    prompt: list[int]
    tokens: list[int]


def record_answers(
    target: Decoder,
    prompts: Sequence[list[int]],
    is_end: Callable[[int], bool],
    most: int,
    seconds: float,
) -> list[Answer]:
    """Greedy answers of at most `most` tokens to all prompts, decoded side by side.

    Sequence i of the target, which must be empty and is empty again after, takes prompt i. The
    answers stay shorter where `seconds` are over.
    """
    answers = [Answer(prompt, []) for prompt in prompts]
    began = perf_counter()
    live = []
    for seq, answer in enumerate(answers):
        row = _decode(target, seq, answer.prompt, 1)
        answer.tokens.append(int(target.logits(row).argmax()))
        live.append((seq, answer))
    while live:
        live = [
            (seq, answer)
            for seq, answer in live
            if len(answer.tokens) < most and not is_end(answer.tokens[-1])
        ]
        if live and perf_counter() - began > seconds and len(live[0][1].tokens) >= FEWEST:
            break
        rows = [
            target.add(seq, answer.tokens[-1:], len(answer.prompt) + len(answer.tokens) - 1, 1)
            for seq, answer in live
        ]
        if rows:
            target.decode()
        for (_seq, answer), row in zip(live, rows, strict=True):
            answer.tokens.append(int(target.logits(row).argmax()))
    for seq in range(len(prompts)):
        target.rollback(seq, 0)
    return answers


def echo(draft: Decoder, answer: Answer) -> Echo:
    """What `draft` would say at each token of an answer, all before it being the target's.

    Uses sequence 0, which must be empty and is empty again after.
    """
    if len(answer.prompt) > 1:
        _decode(draft, 0, answer.prompt[:-1], 0)
    agrees: list[bool] = []
    confidences: list[float] = []
    # Each of these is followed by the answer's token of the same place.
    inputs = [answer.prompt[-1], *answer.tokens[:-1]]
    rows = min(ROWS, draft.n_batch)
    for start in range(0, len(inputs), rows):
        chunk = inputs[start : start + rows]
        first = draft.add(0, chunk, len(answer.prompt) - 1 + start, len(chunk))
        draft.decode()
        for place in range(len(chunk)):
            token, confidence = choice(draft.logits(first + place))
            agrees.append(token == answer.tokens[start + place])
            confidences.append(confidence)
    draft.rollback(0, 0)
    return Echo(agrees, confidences)


def _decode(decoder: Decoder, seq: int, tokens: list[int], outputs: int) -> int:
    """Decode tokens from the start of a sequence; the row of the last one's logits."""
    row = 0
    for start in range(0, len(tokens), decoder.n_batch):
        chunk = tokens[start : start + decoder.n_batch]
        is_last = start + len(chunk) == len(tokens)
        row = decoder.add(seq, chunk, start, outputs if is_last else 0)
        decoder.decode()
    return row


def choice(logits: Logits) -> tuple[int, float]:
    """The most probable token and its probability."""
    token = int(logits.argmax())
    return token, 1.0 / float(np.exp(logits - logits[token]).sum())
