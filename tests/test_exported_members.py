"""The public names of specli, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import specli
from tests.test_architecture import SLOW

PUBLIC = [
    "LLM",
    "ClosedError",
    "CompletionOutput",
    "DecodeError",
    "DrafterMetrics",
    "FetchError",
    "LoadError",
    "MemoryShortError",
    "ModelFileError",
    "PairIncompatibleError",
    "Piece",
    "PromptTooLongError",
    "RequestMetrics",
    "RequestOutput",
    "SamplingParams",
    "SpecliError",
    "SpeculativeConfig",
    "UsageError",
    "__version__",
]
METHODS = ["chat", "close", "generate", "stream"]


def test_the_public_names_are_these() -> None:
    assert specli.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(specli))


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_a_public_name_is_a_documented_class(name: str) -> None:
    found = getattr(specli, name)
    assert inspect.isclass(found)
    assert found.__name__ == name
    assert found.__module__.startswith("specli.")


def test_the_methods_of_an_llm_are_documented() -> None:
    methods = [name for name in vars(specli.LLM) if not name.startswith("_")]
    assert sorted(methods) == METHODS
    assert all(getattr(specli.LLM, name).__doc__ for name in METHODS)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Llm'"):
        specli.Llm  # noqa: B018


def test_importing_specli_loads_nothing_slow() -> None:
    code = f"import sys, specli; print([name for name in {SLOW!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
