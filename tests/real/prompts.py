"""Prompts of many kinds, for what must hold whatever is asked."""

from __future__ import annotations

_STORY = (
    "The old lighthouse keeper climbed the stairs every evening. One night the lamp would not "
    "light, and out at sea a small boat was looking for the harbour."
)
_CODE = (
    "def total(prices, tax):\n    result = 0\n    for price in prices:\n"
    "        result = result + price\n    return result * (1 + tax)\n"
)
_TABLE = "name,age,city\nAnna,31,Oslo\nBen,27,Rome\nClara,45,Lima\n"

PROMPTS = {
    "fact": "Why is the sky blue?",
    "explain": "Explain how a bicycle stays upright, step by step.",
    "reasoning": "A train leaves at 3 pm and drives 150 km at 60 km per hour. When does it arrive?",
    "code": "Write a Python function that computes a factorial.",
    "refactor": f"Rename `prices` to `amounts` in this code and repeat all of it:\n\n{_CODE}",
    "tests": f"Write unit tests with pytest for this function:\n\n{_CODE}",
    "shell": "How do I find the ten largest files in a folder with the shell? Explain each flag.",
    "story": "Write a short story about a robot that learns to paint.",
    "continue": f"Continue this story:\n\n{_STORY}",
    "poem": "Write a poem of four verses about the sea in winter.",
    "dialogue": "Write a dialogue between a baker and a customer who wants a cake without sugar.",
    "list": "List twelve countries with their capitals, one per line.",
    "numbers": "Count from one to forty in words, separated by commas.",
    "json": "Give me a JSON array of five people with name, age and city.",
    "table": f"Turn this into a Markdown table and add five more rows:\n\n{_TABLE}",
    "copy": f"Repeat the following text three times, word for word:\n\n{_STORY}",
    "summary": f"Summarise this text, then quote each of its sentences:\n\n{_STORY}",
    "translate": "Translate to French, sentence by sentence, with explanations: The house is old. "
    "The garden is large. The children play in the garden.",
    "german": "Erzähle mir etwas über die Stadt München und ihre Sehenswürdigkeiten.",
    "symbols": "Explain these signs one by one: € £ ½ √ π → 😀 你好",
}
