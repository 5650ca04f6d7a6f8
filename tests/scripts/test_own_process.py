"""A call in a process of its own: its result, or how it came to none."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import own_process
from own_process import Failed

from specli.gguf.check import check_file


def test_a_result_comes_back() -> None:
    assert own_process.call(divmod, 7, 2) == (3, 1)


def test_a_crash_is_named_and_harms_nobody() -> None:
    assert own_process.call(os.abort) == Failed("ended by SIGABRT")


def test_an_end_without_a_result_tells_its_exit_code() -> None:
    assert own_process.call(sys.exit, 3) == Failed("ended with exit code 3")


def test_what_does_not_return_within_the_limit_is_ended() -> None:
    assert own_process.call(time.sleep, 600, limit=0.5) == Failed("no result within 0.5 s")


def test_an_error_of_specli_is_told_in_its_sentence(tmp_path: Path) -> None:
    found = own_process.call(check_file, tmp_path / "missing.gguf")
    assert isinstance(found, Failed)
    assert "missing.gguf" in found.reason
