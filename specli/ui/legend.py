"""What the colours and figures of a generation mean."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.ui.status import BARS, NOT_DRAFTED
from specli.ui.text import style_of

_SOURCES = {
    "target": "the target model's own choice",
    "draft": "drafted by the draft model, accepted by the target",
    "suffix": "drafted from a repeated passage, accepted",
    "ngram": "drafted from repeated n-grams, accepted",
    "prediction": "drafted from the --prediction text, accepted",
    "lookup": "drafted from the lookup cache, accepted",
    "others": "drafted by another drafter, accepted",
}
_WORDS = {
    "round": "one decode of the target: it judges a draft and adds one token of its own",
    "plain": "decoding without drafts, by the rounds of this text that had none",
    "accepted": "drafted tokens that are the target's own choice; the text is the same either way",
    "by position": "how often the 1st, 2nd, … token of a draft was accepted",
    f"{BARS[0]}{BARS[3]}{BARS[-1]}": "accepted tokens of each round, against the longest draft",
    NOT_DRAFTED: "a round in which nothing was drafted",
}


def legend() -> RenderableType:
    """Two short tables that fit 40 columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for source, meaning in _SOURCES.items():
        table.add_row(Text(f"  {source}", style_of(source)), meaning)
    for word, meaning in _WORDS.items():
        table.add_row(f"  {word}", meaning)
    return Group(Text("Colours and words", "bold"), table)
