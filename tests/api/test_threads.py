"""One `LLM` and many threads: each gets its own texts and errors; what is the host's stays so."""

from __future__ import annotations

import gc
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from specli import LLM, ClosedError, SamplingParams, UsageError
from specli.api.scheduler import Scheduler
from specli.session import Session
from tests.api.conftest import Load

GREEDY = SamplingParams(max_tokens=30, ignore_eos=True)
ENDLESS = SamplingParams(ignore_eos=True)
HELLO = [{"role": "user", "content": "hello"}]


def engine_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "specli-engine"]


def streamed(llm: LLM, prompt: str, params: SamplingParams) -> str:
    return "".join(piece.text for piece in llm.stream(prompt, params))


def test_threads_get_their_own_texts(load: Load) -> None:
    llm = load()
    prompts = [f"{word} again" for word in ("a", "the", "on", "in", "at", "or", "re", "en")]
    alone = [llm.generate(prompt, GREEDY)[0].outputs[0].text for prompt in prompts]

    def several(prompt: str) -> set[str]:
        outputs = llm.generate([prompt] * 3, GREEDY)
        return {streamed(llm, prompt, GREEDY), *(output.outputs[0].text for output in outputs)}

    with ThreadPoolExecutor(len(prompts)) as pool:
        together = list(pool.map(several, prompts))
    assert together == [{text} for text in alone]


def test_an_error_of_one_caller_is_no_other_callers(load: Load) -> None:
    llm = load()
    alone = streamed(llm, "hello", GREEDY)
    stream = llm.stream("hello", GREEDY)
    text = next(stream).text
    with pytest.raises(UsageError, match="grammar"):
        llm.generate("a", SamplingParams(grammar="root ::= ("))
    assert text + "".join(piece.text for piece in stream) == alone


def test_a_stream_that_is_dropped_ends_only_its_own_request(
    load: Load, cancelled: list[int]
) -> None:
    llm = load("long.gguf", max_model_len=0)
    kept, dropped = llm.stream("hello", ENDLESS), llm.stream("a", ENDLESS)
    next(kept)
    next(dropped)
    del dropped
    assert len(llm.generate("the", GREEDY)[0].outputs[0].token_ids) == 30
    assert cancelled == [1]
    kept.close()


def test_closing_raises_in_the_threads_that_wait(load: Load) -> None:
    llm = load("long.gguf", max_num_seqs=1, max_model_len=0)
    begun = threading.Event()

    def endless() -> None:
        for _piece in llm.stream("hello", ENDLESS):
            begun.set()

    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(endless)
        assert begun.wait(60)
        waiting = pool.submit(llm.generate, ["a", "b"], ENDLESS)
        llm.close()
        with pytest.raises(ClosedError, match="before the request was finished"):
            running.result(60)
        with pytest.raises(ClosedError, match="closed"):
            waiting.result(60)
    assert engine_threads() == []


def test_threads_that_close_at_once_free_the_models_once(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Session] = []
    close = Session.close

    def counted(session: Session) -> None:
        closed.append(session)
        close(session)

    monkeypatch.setattr(Session, "close", counted)
    llm = load()
    with ThreadPoolExecutor(4) as pool:
        for _future in [pool.submit(llm.close) for _thread in range(4)]:
            _future.result(timeout=60)
    assert len(closed) == 1
    assert engine_threads() == []


def test_a_fault_of_the_engine_thread_reaches_its_callers(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_scheduler: Scheduler) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Scheduler, "step", broken)
    llm = load()
    with pytest.raises(RuntimeError, match="a fault"):
        llm.generate("hello", GREEDY)
    with pytest.raises(ClosedError, match="closed"):
        llm.generate("hello", GREEDY)
    with pytest.raises(RuntimeError, match="a fault"):
        llm.close()
    llm.close()
    assert engine_threads() == []


def test_an_llm_that_is_dropped_frees_its_models(models: Path) -> None:
    llm = LLM("target.gguf", speculative_config={"method": "ngram", "num_speculative_tokens": 3})
    llm.generate("hello", GREEDY)
    del llm
    gc.collect()
    assert engine_threads() == []


def test_a_failed_load_leaves_no_thread(models: Path) -> None:
    with pytest.raises(UsageError):
        LLM("not a model at all")
    assert engine_threads() == []


def test_a_program_ends_while_texts_are_being_generated(models: Path) -> None:
    code = (
        "from specli import LLM, SamplingParams\n"
        "llm = LLM('long.gguf', speculative_model='draft.gguf', num_speculative_tokens=4,\n"
        "          max_num_seqs=1, max_model_len=0)\n"
        "stream = llm.stream('hello', SamplingParams(ignore_eos=True))\n"
        "next(stream)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_host_keeps_its_signals_its_collector_its_log_and_its_output(
    load: Load, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    touched: list[str] = []

    def spied(name: str) -> Callable[..., None]:
        return lambda *_arguments: touched.append(name)

    for module, names in (
        (signal, ("signal", "sigaction", "pthread_sigmask", "set_wakeup_fd", "setitimer")),
        (gc, ("freeze", "disable", "enable", "set_threshold")),
        (logging, ("basicConfig", "disable", "captureWarnings")),
    ):
        for name in names:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, spied(name))
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("specli").handlers[:])
    llm = load()
    llm.generate(["hello", "a"], GREEDY)
    streamed(llm, "hello", GREEDY)
    llm.chat(HELLO, GREEDY)
    llm.close()
    assert touched == []
    assert before == (root.level, root.handlers, logging.getLogger("specli").handlers)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
