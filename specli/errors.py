"""Every error a user can meet, with its exit code.

    SpecliError                 1  something went wrong at run time
    ├── UsageError              2  a flag, a profile or a combination of them is wrong
    ├── ModelFileError          1  a model file is missing, broken or of an unknown kind
    ├── LoadError               1  llama.cpp refused a model or a context
    ├── MemoryShortError        1  the pair does not fit into memory
    ├── PromptTooLongError      1  the prompt does not fit into the context
    ├── DecodeError             1  llama.cpp failed while computing
    ├── FaultError              1  a fault of specli ended one text; others go on
    ├── FetchError              1  a download failed
    ├── ClosedError             1  an LLM is used after it was closed, or closed while used
    ├── PairIncompatibleError   3  target and draft do not share a vocabulary
    ├── CheckFailedError        4  a text is not what the target chooses
    └── BatchFailedError        5  some prompts of a batch have no answer

A message is one sentence: what happened, and where. `hint` says what to type or change next. Where
either names a setting, it does so by the long name in backticks: `temp`, `draft_max`. What shows an
error to a person writes the flag instead.
"""

from __future__ import annotations

from typing import Self

MOST_QUOTED = 80
MOST_MESSAGE = 1000


def shortened(value: object) -> str:
    """A value as a message quotes it: what a user or a file gave may be of any length."""
    try:
        text = str(value)
    except ValueError:
        # Python writes no whole number of more than 4,300 digits.
        return "a number of thousands of digits"
    return text if len(text) <= MOST_QUOTED else f"{text[:MOST_QUOTED]}…"


class SpecliError(Exception):
    """Base of all errors that are shown to the user without a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        if len(message) > MOST_MESSAGE:
            # Names and reasons from files have any length; the end often says what is wrong.
            half = MOST_MESSAGE // 2
            message = f"{message[:half]} … {message[-half:]}"
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SpecliError):
    exit_code = 2


class ModelFileError(SpecliError):
    """A model file is missing, is not a GGUF, is cut short, or has fields that contradict."""


class LoadError(SpecliError):
    """llama.cpp refused a model or a context; the message quotes its last error lines."""


class MemoryShortError(SpecliError):
    pass


class PromptTooLongError(SpecliError):
    pass


class DecodeError(SpecliError):
    pass


class FaultError(SpecliError):
    """An exception that nobody expected, met while one text was generated."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        return cls(
            f"a fault of specli: {type(error).__name__}: {shortened(error)}; please report it with "
            "the prompt and the settings",
            hint="run again with --debug for the traceback",
        )


class FetchError(SpecliError):
    pass


class ClosedError(SpecliError):
    """A request to an LLM that is closed, or that was closed before the request was finished."""


class PairIncompatibleError(SpecliError):
    exit_code = 3


class CheckFailedError(SpecliError):
    exit_code = 4


class BatchFailedError(SpecliError):
    exit_code = 5
