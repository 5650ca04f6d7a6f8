"""One place where an error becomes a sentence on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from specli.errors import SpecliError

RUNTIME = 1
INTERRUPTED = 130


def guarded(body: Callable[[], object]) -> int:
    """Run `body` and return its exit code; no error leaves it as a traceback.

    With SPECLI_DEBUG (which --debug sets) the traceback is printed as well.
    """
    try:
        body()
    except SpecliError as error:
        _debug()
        say(f"error: {error.message}")
        if error.hint:
            say(f"hint: {error.hint}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except Exception as error:
        _debug()
        say(f"error: {type(error).__name__}: {error}")
        say("hint: this is a fault of specli; run again with --debug for the traceback")
        return RUNTIME
    return 0


def say(line: str) -> None:
    """One line on stderr, whatever it is."""
    print(line, file=sys.stderr)  # noqa: T201


def _debug() -> None:
    if os.environ.get("SPECLI_DEBUG"):
        traceback.print_exc()
