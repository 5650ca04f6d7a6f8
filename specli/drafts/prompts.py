"""Prompts for the target while drafts are tried: one short prompt for each kind of text.

Speeds are reported on other prompts, so that no draft is chosen on the test set.
"""

from __future__ import annotations

PROMPTS = (
    "How do vaccines protect people from diseases? Explain it in a few sentences.",
    "Write a short story about a baker who wakes up one morning and can talk to birds.",
    "Write a Python function that checks whether a word is a palindrome, with a docstring and "
    "two examples.",
    "Summarise in two sentences: The old bridge over the river was closed in spring after "
    "engineers found cracks in two of its pillars. Repairs will take until next year. Until then "
    "a ferry carries people across every twenty minutes, and lorries have to take the motorway.",
    "Rewrite this sentence so that it is polite, and then write it once more as a question: Send "
    "me the report by Friday, because the committee needs to read it before the meeting.",
    'Write a JSON object with the keys "title", "author" and "year" for each of three famous '
    "novels. Write only the JSON.",
    "Give me step by step instructions for planting a tomato in a pot on a balcony.",
    "Translate into Spanish: Our train leaves at nine in the morning. We will have breakfast at "
    "the station and arrive at the coast in the afternoon.",
)
