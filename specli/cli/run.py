"""`specli run`: one prompt, its answer, and how well the speculation did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from specli.cli import flags
from specli.cli.options import RunOptions
from specli.cli.run_options import taking_run_options
from specli.errors import UsageError

_PROMPTS = 'specli run "Why is the sky blue?", or -f FILE, or pipe it in'


@taking_run_options
def run(
    *,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="The prompt; `-` reads it from stdin.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read the prompt from a file."),
    ] = None,
    raw: flags.Raw = False,
    profile: flags.Profile = None,
    options: RunOptions,
    no_draft: flags.NoDraft = False,
    recalibrate: flags.Recalibrate = False,
    grammar: flags.Grammar = None,
    grammar_file: flags.GrammarFile = None,
    json_schema: flags.JsonSchema = None,
    stop: flags.Stop = None,
    ignore_eos: flags.IgnoreEos = False,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
    verbose: flags.Verbose = False,
    explain: flags.Explain = False,
    check: flags.Check = False,
) -> None:
    """Answer a prompt with speculative decoding and show how well it does.

    Without -m the embedded SmolLM2 pair is used, fetched on the first run.
    """
    text = read_prompt(prompt, file)
    gbnf, schema = read_constraint(grammar, grammar_file, json_schema)

    from specli.cli.generate import Task, generate

    task = Task(
        prompt=text,
        raw=raw,
        stops=tuple(stop or ()),
        ignore_end=ignore_eos,
        grammar=gbnf,
        json_schema=schema,
        profile=profile,
        draft=not no_draft,
        recalibrate=recalibrate,
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
        explain=explain,
        check=check,
    )
    code = generate(options, task)
    if code:
        raise typer.Exit(code)


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from the argument, a file or stdin.

    Raises UsageError when there is none, or an empty one.
    """
    if file is not None:
        if prompt is not None:
            raise UsageError("a prompt and -f were both given", hint="give one of them")
        return _some(read_text(file), f"{file} is empty")
    if prompt == "-" or (prompt is None and not sys.stdin.isatty()):
        text = sys.stdin.buffer.read().decode("utf-8", "replace")
        # A shell's `echo` ends the prompt with a newline that nobody meant.
        return _some(text.removesuffix("\n"), "no prompt came from stdin")
    if prompt is None:
        raise UsageError("no prompt was given", hint=_PROMPTS)
    return _some(prompt, "the prompt is empty")


def _some(text: str, problem: str) -> str:
    """`text`, unless there is none: a chat template would make a prompt of nothing at all."""
    if not text:
        raise UsageError(problem, hint=_PROMPTS)
    return text


def read_constraint(
    grammar: str | None, grammar_file: Path | None, json_schema: str | None
) -> tuple[str | None, str | None]:
    """(grammar, JSON schema), at most one of them set. Raises UsageError for more than one."""
    if sum(given is not None for given in (grammar, grammar_file, json_schema)) > 1:
        raise UsageError(
            "more than one of --grammar, --grammar-file and --json-schema was given",
            hint="a text follows one grammar: give one of them",
        )
    if grammar_file is not None:
        return read_text(grammar_file), None
    if json_schema is not None and not json_schema.lstrip().startswith(("{", "true", "false")):
        return None, read_text(Path(json_schema))
    return grammar, json_schema


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=f"check the path, seen from {Path.cwd()}"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8 text (byte {error.start})", hint="save it as UTF-8"
        ) from None
