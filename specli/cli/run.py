"""`specli run`: one prompt, its answer, and how well the speculation did."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from specli.cli.compare import compare
from specli.cli.failures import INTERRUPTED
from specli.cli.output import Sink, with_flags
from specli.cli.parameters import takes
from specli.cli.prompt import Parts, escaped, read_prompt
from specli.errors import CheckFailedError, UsageError
from specli.option_table import GENERATION, OUTPUT, PROMPT, option
from specli.options import Options

if TYPE_CHECKING:
    from specli.app.run import Answer

OWN = (
    option("-p --prompt", "The prompt, as an argument gives it.", name="text", metavar="TEXT",
           group=PROMPT),
    option("-f --file", "Read a part of the prompt from a file. May be repeated.", "texts",
           name="files", metavar="FILE", group=PROMPT, common=True),
    option("--template", "Make the prompt of a text with {input} and other {names} in it.",
           metavar="TEXT", group=PROMPT),
    option("--value", "Text for a name in the template. May be repeated.", "texts", name="values",
           metavar="NAME=TEXT", group=PROMPT),
    option("--html", "Write a page that shows every token, as --inspect does.", "file",
        name="html_file", group=OUTPUT),
    option("-e --escape", "Read \\n, \\t and \\x41 in prompt, system message and stops as escapes.",
           "switch", group=PROMPT),
)  # fmt: skip


def example(target: str, *flags: str) -> str:
    """A command line that tries a target with these flags."""
    return shlex.join(["specli", "run", "-m", target, *flags, "Why is the sky blue?"])


SHOWN = ("explain", "inspect", "check", "compare", "legend")


@takes(*OWN, *GENERATION, "json", "quiet", "verbose", "verbose_prompt", "reasoning_format", *SHOWN)
def run(
    *,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The prompt; `-` reads it from stdin.")
    ] = None,
    options: Options,
    **parts: Any,
) -> None:
    """Answer a prompt with speculative decoding and show how well it does.

    Without -m the embedded SmolLM2 pair is used, which is downloaded on the first run.

    Examples:
      specli run "Why is the sky blue?"
      specli run -m target.gguf -md draft.gguf "Write a haiku" -n 64
      specli run -m target.gguf --prediction old.py -f change.txt
      git diff | specli run -m target.gguf "Write a commit message"
    """
    sink = Sink.of(options)
    if options.legend and prompt is None and not any(parts.values()) and sys.stdin.isatty():
        from specli.ui.legend import legend

        sink.show(legend())
        return
    html_file: Path | None = parts.pop("html_file", None)
    if html_file is not None:
        options = options.but(inspect=True)
    text = read_prompt(_parts(prompt, **parts))
    if parts.get("escape"):
        options = _with_escapes(options)

    if options.compare:
        compare(sink, options, text)
        return

    from specli.app.run import run as answer
    from specli.cli.inspect_run import write_page
    from specli.cli.views import run_view
    from specli.inspection import InspectedRun
    from specli.ui.inspection import inspection

    done = answer(
        options,
        text,
        sink.feedback(),
        lambda: run_view(sink, explained=bool(options.legend)),
        lambda done: sink.data(done.report(explain=bool(options.explain)), indent=None),
    )
    if html_file is not None:
        write_page(sink, InspectedRun.model_validate(done.report()), html_file)
    if not sink.json:
        if options.inspect and html_file is None:
            sink.asked(inspection(done.rounds))
        _remarks(sink, options, done)
    _end(done)


def _remarks(sink: Sink, options: Options, done: Answer) -> None:
    """What is said below the text and its figures."""
    from specli.ui.explain import explanation

    explained = done.explanation
    if explained is not None:
        if options.explain:
            sink.asked(explanation(explained))
        if explained.advice:
            sink.remark(with_flags(explained.advice))
    if done.drew_seed:
        sink.remark(f"drawn seed: {done.sampling.seed} (--seed {done.sampling.seed} repeats it)")
    if done.check is not None:
        sink.asked(done.check.sentence)


def _end(done: Answer) -> None:
    """Raise what the answer ended with, if that is not its end."""
    if done.generation.error is not None:
        raise done.generation.error
    if done.check is not None and not done.check.passed:
        raise CheckFailedError(
            done.check.sentence,
            hint="this is a fault: please report the models and the command",
        )
    if done.interrupted:
        raise typer.Exit(INTERRUPTED)


def _parts(
    prompt: str | None, text: str | None = None, files: tuple[str, ...] = (), **more: Any
) -> Parts:
    if prompt is not None and text is not None:
        raise UsageError("two prompts were given: an argument and -p", hint="give one of them")
    paths = [Path(file).expanduser() for file in files]
    escapes = more.pop("escape", False)
    return Parts(text if prompt is None else prompt, paths, escapes=escapes, **more)


def _with_escapes(options: Options) -> Options:
    stops = None if options.stop is None else tuple(map(escaped, options.stop))
    return options.but(system=options.system and escaped(options.system), stop=stops)
