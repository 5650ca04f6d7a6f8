"""The one place where an error becomes a sentence on stderr and an exit code."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from specli.cli.output import print_stderr, with_flags
from specli.errors import SpecliError

RUNTIME = 1
INTERRUPTED = 130


def run_app(app: typer.Typer, arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    return guarded(lambda: app(arguments, prog_name="specli", standalone_mode=False))


def guarded(body: Callable[[], object]) -> int:
    """Run `body` and return its exit code; no error leaves it as a traceback.

    With SPECLI_DEBUG (which --debug sets) the traceback is printed as well.
    """
    try:
        code = body()
        sys.stdout.flush()
    except SpecliError as error:
        _debug()
        print_stderr(f"error: {with_flags(error.message)}")
        if error.hint:
            print_stderr(f"hint: {with_flags(error.hint)}")
        return error.exit_code
    except typer.TyperException as error:
        for line in _usage(error):
            print_stderr(line)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print_stderr("interrupted")
        return INTERRUPTED
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BrokenPipeError:
        # Whoever reads the output has seen enough, as `head` does.
        _forget_output()
        return RUNTIME
    except OSError as error:
        _debug()
        _forget_output()
        print_stderr(f"error: {_refused(error)}")
        print_stderr("hint: check the disk, the folder and where the output goes")
        return RUNTIME
    except Exception as error:
        _debug()
        print_stderr(f"error: {type(error).__name__}: {error}")
        print_stderr("hint: this is a fault of specli; run again with --debug for the traceback")
        return RUNTIME
    return code if isinstance(code, int) else 0


def _usage(error: typer.TyperException) -> Iterator[str]:
    """What is wrong with a command line, as other errors are told."""
    message = error.message if hasattr(error, "option_name") else error.format_message()
    yield f"error: {message[:1].lower()}{message[1:].removesuffix('.')}"
    near = difflib.get_close_matches(
        getattr(error, "option_name", ""), getattr(error, "possibilities", None) or [], n=1
    )
    path = getattr(getattr(error, "ctx", None), "command_path", "specli")
    help_ = f"{path} --help shows what it takes"
    yield f"hint: did you mean {near[0]}? {help_}" if near else f"hint: {help_}"


def _refused(error: OSError) -> str:
    """What the system refused, in a sentence."""
    try:
        Path.cwd()
    except OSError:
        return "the current folder no longer exists"
    where = f" ({error.filename})" if error.filename else ""
    return f"the system refused it: {error.strerror or error}{where}"


def _forget_output() -> None:
    """Drop what cannot be written, which Python would try again when it ends."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _debug() -> None:
    if os.environ.get("SPECLI_DEBUG"):
        traceback.print_exc()
