"""Reasoning and answer, told apart by the marks of several families."""

from __future__ import annotations

import pytest

from specli.llama.reasoning import parted


@pytest.mark.parametrize(
    ("text", "prompt", "expected"),
    [
        ("<think>\nhm\n</think>\n\nyes", "", ("hm", "yes")),
        ("\n[THINK]hm[/THINK]yes", "user: x", ("hm", "yes")),
        ("hm\n</think>\nyes", "assistant\n<think>\n", ("hm", "yes")),
        ("<think></think>yes", "", (None, "yes")),
        ("<think>not at an end", "", ("not at an end", "")),
        ("yes <think>no</think>", "", (None, "yes <think>no</think>")),
        ("yes", "<think>\n\n</think>\n\n", (None, "yes")),
        (" yes\n", "", (None, " yes\n")),
        ("", "", (None, "")),
    ],
)
def test_reasoning_is_what_stands_before_the_answer(
    text: str, prompt: str, expected: tuple[str | None, str]
) -> None:
    assert parted(text, prompt) == expected
