"""`specli run`: one prompt, its answer, and how well the speculation did."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from specli.cli.failures import INTERRUPTED
from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.errors import CheckFailedError, UsageError
from specli.options import GENERATION, PROMPT, Options

PROMPT_FORMS = 'specli run "Why is the sky blue?", or -f FILE, or pipe it in'


def example(target: str, *flags: str) -> str:
    """A command line that tries a target with these flags."""
    return shlex.join(["specli", "run", "-m", target, *flags, "Why is the sky blue?"])


@takes(*GENERATION, "json", "quiet", "verbose", "explain", "check")
def run(
    *,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The prompt; `-` reads it from stdin.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f",
            "--file",
            metavar="FILE",
            help="Read the prompt from a file.",
            rich_help_panel=PROMPT,
        ),
    ] = None,
    options: Options,
) -> None:
    """Answer a prompt with speculative decoding and show how well it does.

    Without -m the embedded SmolLM2 pair is used, which is downloaded on the first run.

    Examples:
      specli run "Why is the sky blue?"
      specli run -m target.gguf -md draft.gguf "Write a haiku" -n 64
      specli run -m target.gguf --prediction old.py -f change.txt
      git diff | specli run -m target.gguf
    """
    text = read_prompt(prompt, file)

    from specli.app.run import run as answer
    from specli.cli.views import run_view
    from specli.ui.explain import estimate, explanation

    sink = Sink.of(options)
    done = answer(options, text, sink.feedback(), lambda: run_view(sink))
    sink.data(done.report(explain=bool(options.explain)), indent=None)
    explained = done.explanation
    if explained is not None and not sink.json:
        if options.explain:
            sink.remark(explanation(explained))
        for line in (estimate(explained), explained.advice):
            if line:
                sink.remark(line)
    if done.check is not None and not sink.json:
        sink.remark(done.check.sentence)
    if done.generation.error is not None:
        raise done.generation.error
    if done.check is not None and not done.check.passed:
        raise CheckFailedError(
            done.check.sentence,
            hint="this is a fault: please report the models and the command",
        )
    if done.interrupted:
        raise typer.Exit(INTERRUPTED)


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from the argument, a file or stdin.

    Raises UsageError when there is none, or an empty one.
    """
    if file is not None:
        if prompt is not None:
            raise UsageError("a prompt and -f were both given", hint="give one of them")
        from specli.app.prepare import read_text

        text, problem = read_text(file), f"{file} is empty"
    elif prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        # A shell's `echo` ends the prompt with a newline that nobody meant.
        text = sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n")
        problem = "no prompt came from stdin"
    elif prompt is None:
        raise UsageError("no prompt was given", hint=PROMPT_FORMS)
    else:
        text, problem = prompt, "the prompt is empty"
    if not text:
        # A chat template would make a prompt of nothing at all.
        raise UsageError(problem, hint=PROMPT_FORMS)
    return text
