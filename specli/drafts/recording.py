"""The target's own greedy answers, and how far a candidate agrees with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from specli.drafts.score import Agreement
from specli.llama.decoder import Decoder, Logits

ROWS = 64
"""Rows of logits per batch: each is as long as the vocabulary."""

FEWEST = 16
"""Tokens of each answer that are recorded however slow the target is."""


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
    """Greedy answers of at most `most` tokens to all prompts, decoded in parallel.

    Sequence i of the target, which must be empty and is empty again afterwards, takes prompt i.
    The answers are cut short after `seconds`.
    """
    answers = [Answer(prompt, []) for prompt in prompts]
    began = perf_counter()
    for seq, answer in enumerate(answers):
        row = _decode(target, seq, answer.prompt, 1)
        answer.tokens.append(int(target.logits(row).argmax()))
    live = list(enumerate(answers))
    while live := [
        (seq, answer)
        for seq, answer in live
        if len(answer.tokens) < most and not is_end(answer.tokens[-1])
    ]:
        if perf_counter() - began > seconds and len(live[0][1].tokens) >= FEWEST:
            break
        rows = [
            target.add(seq, answer.tokens[-1:], len(answer.prompt) + len(answer.tokens) - 1, 1)
            for seq, answer in live
        ]
        target.decode()
        for (_seq, answer), row in zip(live, rows, strict=True):
            answer.tokens.append(int(target.logits(row).argmax()))
    for seq in range(len(prompts)):
        target.rollback(seq, 0)
    return answers


def measure_agreement(draft: Decoder, answer: Answer) -> Agreement:
    """The draft's choice at each token of an answer, given the target's tokens before it.

    Uses sequence 0, which must be empty and is empty again afterwards.
    """
    if len(answer.prompt) > 1:
        _decode(draft, 0, answer.prompt[:-1], 0)
    agrees: list[bool] = []
    confidences: list[float] = []
    # The token after inputs[i] is answer.tokens[i].
    inputs = [answer.prompt[-1], *answer.tokens[:-1]]
    rows = min(ROWS, draft.n_batch)
    for start in range(0, len(inputs), rows):
        chunk = inputs[start : start + rows]
        first = draft.add(0, chunk, len(answer.prompt) - 1 + start, len(chunk))
        draft.decode()
        for index in range(len(chunk)):
            token, confidence = greedy(draft.logits(first + index))
            agrees.append(token == answer.tokens[start + index])
            confidences.append(confidence)
    draft.rollback(0, 0)
    return Agreement(agrees, confidences)


def _decode(decoder: Decoder, seq: int, tokens: list[int], outputs: int) -> int:
    """Decode tokens from the start of a sequence; the row of the last one's logits."""
    row = 0
    for start in range(0, len(tokens), decoder.n_batch):
        chunk = tokens[start : start + decoder.n_batch]
        is_last = start + len(chunk) == len(tokens)
        row = decoder.add(seq, chunk, start, outputs if is_last else 0)
        decoder.decode()
    return row


def greedy(logits: Logits) -> tuple[int, float]:
    """The most probable token and its probability."""
    token = int(logits.argmax())
    return token, 1.0 / float(np.exp(logits - logits[token]).sum())
