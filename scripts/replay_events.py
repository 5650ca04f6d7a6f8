"""Plays made-up events through the live view and the summary, to look at them in a terminal.

python scripts/replay_events.py [--prompt N] [--rounds-per-second N] [--text FILE]
"""

from __future__ import annotations

import argparse
import random
import re
import time
from pathlib import Path

from rich.console import Console

from specli.events import TARGET, Piece, Prefilled, Round, Stats
from specli.ui.live import LiveView
from specli.ui.summary import summary_table

TEXT = """\
Speculative decoding lets a small model guess what a large one is about to say; the large one \
then reads the guesses at once and keeps the ones that it would have written itself. \
[bold]This is not markup[/bold], and :smile: is no emoji. 日本語の文章も正しく折り返される。

```python
def factorial(n: int) -> int:
\tif n < 2:
\t\treturn 1
\treturn n * factorial(n - 1)
```

An escape \x1b[31msequence\x1b[2J does nothing here.\r
The end."""
PREFILL_CHUNK = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", type=int, default=2048)
    parser.add_argument("--rounds-per-second", type=float, default=20)
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    text = options.text.read_text() if options.text else TEXT
    console = Console()
    stats = Stats()
    with LiveView(console) as view:
        for event in events(text, options.prompt):
            time.sleep(1 / options.rounds_per_second)
            event.at = time.perf_counter()
            stats.add(event)
            view.event(event, stats)
    console.print(summary_table(stats))


def events(text: str, prompt: int) -> list[Prefilled | Round]:
    """A prompt in chunks, then rounds with drafts of up to eight tokens."""
    made: list[Prefilled | Round] = [
        Prefilled(0, min(done, prompt), prompt, 0, 400.0, 0.0)
        for done in range(PREFILL_CHUNK, prompt + PREFILL_CHUNK, PREFILL_CHUNK)
    ]
    chance = random.Random(1)
    words = re.findall(r"\s?\S+|\s", text)
    while words:
        drafter = chance.choice(["draft", "draft", "draft", "ngram", None])
        drafted = chance.randint(2, 8) if drafter else 0
        accepted = min(sum(chance.random() < 0.8 for _ in range(drafted)), len(words) - 1)
        sources = [drafter or TARGET] * accepted + [TARGET]
        taken, words = words[: accepted + 1], words[accepted + 1 :]
        made.append(
            Round(
                seq=0,
                tokens=[0] * len(taken),
                sources=sources,
                pieces=[Piece(*pair) for pair in zip(taken, sources, strict=True)],
                proposal_sources=[drafter or TARGET] * drafted,
                accepted=accepted,
                draft_ms=2.0 * drafted,
                verify_ms=22.0,
                native_ms=21.0,
                at=0.0,
                finish=None if words else "stop",
            )
        )
    return made


if __name__ == "__main__":
    main()
