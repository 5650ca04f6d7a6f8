"""`specli demo`: what drafting does on this machine, in under a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from specli.cli.output import Sink, console, freeze_loaded
from specli.cli.parameters import takes
from specli.options import Options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from specli.app.demo import Demonstration
    from specli.app.tasks import Task

NEXT = (
    ('specli run --compare "Write a Python class for a queue"', "both side by side"),
    ("specli pair find MODEL.gguf", "drafts for a model of your own"),
    ("specli run -m MODEL.gguf -md auto -f FILE", "a prompt from a file, with the best of them"),
)


@takes("profile", "model", "model_draft", "json", "verbose")
def demo(*, options: Options) -> None:
    """Show what drafting does on this machine: three tasks, each with and without it.

    Takes less than a minute. Without -m it uses the embedded SmolLM2 pair.

    Examples:
      specli demo
      specli demo -m target.gguf -md draft.gguf
    """
    from specli.app.demo import demonstrate
    from specli.cli.compare import report
    from specli.cli.views import run_view

    sink = Sink.of(options)
    made = demonstrate(
        options,
        sink.feedback(),
        lambda: watch_of(sink),
        lambda found: _table(sink, found),
        lambda: run_view(sink),
    )
    sink.data([{"task": task.name, **report(one)} for task, one in made.races])
    sink.show("\nTry next:")
    for command, about in NEXT:
        sink.show(f"  {command}", style="bold")
        sink.show(f"      {about}", style="dim")


@contextmanager
def watch_of(sink: Sink) -> Iterator[Callable[[Task], None]]:
    """Says which task is measured."""
    from specli.ui.race import announcing

    freeze_loaded()
    with announcing(quiet=sink.json, console=console(stderr=True)) as announce:
        yield lambda task: announce(f"{task.name}, with and without drafting …")


def table_of(found: Demonstration) -> RenderableType:
    """The tasks with their speeds and a bar each."""
    from specli.ui.race import race_table

    rows = [
        (
            task.name,
            made.plain.stats.predicted_per_second,
            made.drafted.stats.predicted_per_second,
            made.speedup,
        )
        for task, made in found.races
    ]
    return race_table(rows, console().width)


def _table(sink: Sink, found: Demonstration) -> None:
    from rich.text import Text

    from specli.ui.summary import ALIKE, verdict

    sink.show(Text("Measured here, with and without drafting in turns:"), Text())
    sink.show(table_of(found))
    task, speedup = found.best
    if speedup < 1 + ALIKE:
        sink.show(
            Text(
                "\nDrafting does not pay with this pair on this machine now: "
                f"the best, {task.name}, ran at {speedup:.2f}× the speed without drafting.",
                "yellow",
            )
        )
    sink.show(Text(f"\nOnce more, live: {task.name}, {verdict(speedup)}"), Text())
