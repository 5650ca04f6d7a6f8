"""Recorded answers of a pair, in one compressed file: written by record_answers.py, read by all.

A file holds flat arrays: the texts' tokens one after the other, and where each text begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np

FOLDER = Path(__file__).parent / "recordings"

Split = Literal["tune", "report"]


@dataclass(frozen=True, slots=True)
class RecordedText:
    """A prompt, the target's answer, and what the draft chooses at each token of the answer.

    `draft_tokens[i]` and `confidences[i]` belong to the place of `answer[i]`, everything before it
    being the prompt and the target's own tokens. A confidence is the probability of the draft's
    choice, 0 to 1. The last token of an answer that ended by itself is the end token.
    """

    prompt_id: str
    category: str
    split: Split
    temperature: float
    prompt: list[int]
    answer: list[int]
    draft_tokens: list[int]
    confidences: list[float]

    @property
    def agreement(self) -> float:
        """The share of the answer's tokens that the draft chooses."""
        pairs = zip(self.answer, self.draft_tokens, strict=True)
        return sum(a == b for a, b in pairs) / len(self.answer)


def save(path: Path, texts: Sequence[RecordedText]) -> None:
    """Write a recording. Confidences keep 11 bits."""
    np.savez_compressed(
        path,
        prompt_id=np.array([text.prompt_id for text in texts]),
        category=np.array([text.category for text in texts]),
        split=np.array([text.split for text in texts]),
        temperature=np.array([text.temperature for text in texts], dtype=np.float64),
        prompt_offsets=_offsets([len(text.prompt) for text in texts]),
        answer_offsets=_offsets([len(text.answer) for text in texts]),
        prompt=np.array([t for text in texts for t in text.prompt], dtype=np.int32),
        answer=np.array([t for text in texts for t in text.answer], dtype=np.int32),
        draft_tokens=np.array([t for text in texts for t in text.draft_tokens], dtype=np.int32),
        confidences=np.array([c for text in texts for c in text.confidences], dtype=np.float16),
    )


def load(path: Path) -> list[RecordedText]:
    """The texts of a recording, in the order in which they were saved."""
    with np.load(path) as file:
        # Indexing the file reads and unpacks an array anew each time.
        arrays = {name: file[name].tolist() for name in file.files}
    prompt_at, answer_at = arrays["prompt_offsets"], arrays["answer_offsets"]
    texts = []
    for i, prompt_id in enumerate(arrays["prompt_id"]):
        answer = slice(answer_at[i], answer_at[i + 1])
        texts.append(
            RecordedText(
                prompt_id=prompt_id,
                category=arrays["category"][i],
                split=arrays["split"][i],
                temperature=arrays["temperature"][i],
                prompt=arrays["prompt"][prompt_at[i] : prompt_at[i + 1]],
                answer=arrays["answer"][answer],
                draft_tokens=arrays["draft_tokens"][answer],
                confidences=arrays["confidences"][answer],
            )
        )
    return texts


def _offsets(lengths: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Where each text begins in a flat array, and where the last one ends."""
    return np.array([0, *accumulate(lengths)], dtype=np.int32)
