"""The one place where an error becomes a sentence on stderr and an exit code."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable

import typer

from specli.cli.output import print_stderr
from specli.errors import SpecliError
from specli.options import OPTIONS

RUNTIME = 1
INTERRUPTED = 130

_SETTING = re.compile(rf"`({'|'.join(OPTIONS)})`")


def run_app(app: typer.Typer, arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    return guarded(lambda: app(arguments, prog_name="specli", standalone_mode=False))


def guarded(body: Callable[[], object]) -> int:
    """Run `body` and return its exit code; no error leaves it as a traceback.

    With SPECLI_DEBUG (which --debug sets) the traceback is printed as well.
    """
    try:
        code = body()
    except SpecliError as error:
        _debug()
        print_stderr(f"error: {with_flags(error.message)}")
        if error.hint:
            print_stderr(f"hint: {with_flags(error.hint)}")
        return error.exit_code
    except typer.TyperException as error:
        print_stderr(f"error: {error.format_message()}")
        path = getattr(getattr(error, "ctx", None), "command_path", "specli")
        print_stderr(f"hint: {path} --help shows what it takes")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print_stderr("interrupted")
        return INTERRUPTED
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except Exception as error:
        _debug()
        print_stderr(f"error: {type(error).__name__}: {error}")
        print_stderr("hint: this is a fault of specli; run again with --debug for the traceback")
        return RUNTIME
    return code if isinstance(code, int) else 0


def with_flags(text: str) -> str:
    """A text of an error, with flags where it names settings: `temp` becomes --temp."""
    return _SETTING.sub(lambda found: OPTIONS[found[1]].flag, text)


def _debug() -> None:
    if os.environ.get("SPECLI_DEBUG"):
        traceback.print_exc()
