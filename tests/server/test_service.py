"""Many at once: queue, cancellation, time limits, shutdown."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from specli.api.scheduler import Scheduler
from tests.server.conftest import Running, Start

LONG = {"messages": [{"role": "user", "content": "go"}], "max_tokens": 3000, "ignore_eos": True}


def until(holds: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never holds"
        time.sleep(0.01)


def idle(served: Running) -> bool:
    slots = httpx.get(served.url + "/slots").json()
    return served.context.service.load() == (0, 0) and not any(
        slot["is_processing"] for slot in slots
    )


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that take a while, so that answers last."""
    step = Scheduler.step

    def slower(scheduler: Scheduler) -> None:
        time.sleep(0.005)
        step(scheduler)

    monkeypatch.setattr(Scheduler, "step", slower)


def test_a_client_that_leaves_a_stream_frees_its_slot(slow: None, served: Running) -> None:
    url = served.url + "/v1/chat/completions"
    with httpx.stream("POST", url, json={**LONG, "stream": True}, timeout=30) as got:
        lines = got.iter_lines()
        next(lines)
        assert not idle(served)
    until(lambda: idle(served))


def test_a_client_that_leaves_while_it_waits_frees_its_slot(slow: None, served: Running) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(served.url + "/v1/chat/completions", json=LONG, timeout=0.3)
    until(lambda: idle(served))


def test_a_slow_answer_ends_with_an_error_that_says_so(slow: None, start: Start) -> None:
    served = start(timeout=0.3)
    answer = served.post("/v1/chat/completions", LONG)
    assert answer.status_code == 504
    assert answer.headers["x-should-retry"] == "false"
    with httpx.stream(
        "POST", served.url + "/v1/chat/completions", json={**LONG, "stream": True}, timeout=30
    ) as got:
        lines = [line for line in got.iter_lines() if line]
    assert '"error"' in lines[-1]
    until(lambda: idle(served))


def test_a_full_queue_refuses_and_says_when_to_come_again(slow: None, start: Start) -> None:
    served = start(slots=1, max_queue=1, timeout=1.5)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(served.post, "/v1/chat/completions", LONG) for _ in range(2)]
        until(lambda: served.context.service.load() == (1, 1))
        refused = served.post("/v1/chat/completions", LONG)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        for one in waiting:
            one.result()
    assert "specli:requests_refused_total 1.0" in httpx.get(served.url + "/metrics").text


def test_at_shutdown_running_answers_are_finished(slow: None, start: Start) -> None:
    served = start(grace=30)
    body = {**LONG, "max_tokens": 100}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(served.post, "/v1/chat/completions", body)
        until(lambda: served.context.service.load()[0] == 1)
        served.stop()
        assert running.result().json()["usage"]["completion_tokens"] == 100
    with pytest.raises(httpx.ConnectError):
        httpx.get(served.url + "/health", timeout=5)


def test_at_shutdown_answers_that_take_too_long_are_told(slow: None, start: Start) -> None:
    served = start(grace=0.2)
    lines: list[str] = []

    def read() -> None:
        url = served.url + "/v1/chat/completions"
        with httpx.stream("POST", url, json={**LONG, "stream": True}, timeout=30) as got:
            lines.extend(line for line in got.iter_lines() if line)

    reading = threading.Thread(target=read)
    reading.start()
    until(lambda: len(lines) >= 0 and served.context.service.load()[0] == 1)
    served.stop()
    reading.join()
    assert "shutting down" in lines[-1]


def test_metrics_carry_the_names_of_vllm_and_llama_server(served: Running) -> None:
    served.chat("hello hello", max_tokens=30)
    text = httpx.get(served.url + "/metrics").text
    for name in (
        'vllm:spec_decode_num_drafts_total{model_name="target"}',
        'vllm:spec_decode_num_accepted_tokens_per_pos_total{model_name="target",position="0"}',
        'llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"}',
        "llamacpp:spec_decode_num_draft_tokens_total",
        "llamacpp:spec_decode_num_accepted_tokens_total",
        "llamacpp:requests_processing 0.0",
        "llamacpp:requests_deferred 0.0",
        'vllm:time_to_first_token_seconds_bucket{le="0.01",model_name="target"}',
        "llamacpp:tokens_predicted_total",
        'specli:accepted_tokens_total{drafter="draft"}',
    ):
        assert name in text


def test_metrics_count_batches_as_llama_server_does(start: Start) -> None:
    served = start(slots=2)

    def found() -> dict[str, tuple[str, float]]:
        """llama.cpp's type and value of each metric of a batch."""
        lines = httpx.get(served.url + "/metrics").text.splitlines()
        types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE "))
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        names = ("n_decode_total", "n_tokens_max", "n_busy_slots_per_decode")
        return {
            name: (types[f"llamacpp:{name}"], float(values[f"llamacpp:{name}"])) for name in names
        }

    assert found() == {
        "n_decode_total": ("counter", 0),
        "n_tokens_max": ("counter", 0),
        "n_busy_slots_per_decode": ("gauge", 0),
    }
    usage = served.chat(ignore_eos=True, speculative=False)["usage"]
    # One batch is the prompt's; the last token of an answer is not decoded.
    assert found() == {
        "n_decode_total": ("counter", usage["completion_tokens"] + 1),
        "n_tokens_max": ("counter", usage["total_tokens"] - 1),
        "n_busy_slots_per_decode": ("gauge", 1),
    }
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(served.chat, max_tokens=300, ignore_eos=True) for _ in range(2)]:
            one.result()
    assert 1 < found()["n_busy_slots_per_decode"][1] <= 2


def test_the_tokenizer_and_the_template_can_be_asked(served: Running) -> None:
    tokens = served.post("/tokenize", {"content": "hello"}).json()["tokens"]
    assert served.post("/detokenize", {"tokens": tokens}).json() == {"content": "hello"}
    pieces = served.post("/tokenize", {"content": "hé", "with_pieces": True}).json()["tokens"]
    assert all(set(piece) == {"id", "piece"} for piece in pieces)
    assert served.post("/detokenize", {"tokens": [-1]}).status_code == 400
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    prompt = served.post("/apply-template", {"messages": messages}).json()["prompt"]
    assert prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    props = httpx.get(served.url + "/props").json()
    assert props["total_slots"] == 2
    assert props["drafters"] == ["draft", "prediction"]


def test_the_model_is_listed(served: Running) -> None:
    (model,) = httpx.get(served.url + "/v1/models").json()["data"]
    assert model["id"] == "target"
    assert httpx.get(served.url + "/v1/models/target").json() == model
    assert httpx.get(served.url + "/v1/models/other").status_code == 404


def test_half_open_connections_do_not_stop_others(served: Running) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    sockets = [socket.create_connection((host, int(port))) for _ in range(50)]
    for one in sockets[:25]:
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le")
    assert served.chat()["usage"]["completion_tokens"] == 12
    for one in sockets:
        one.close()


def test_answers_of_one_request_draft_for_others_only_where_that_is_allowed(start: Start) -> None:
    def drafted(served: Running) -> int:
        fields = {"max_tokens": 40, "seed": 1, "temperature": 1.0, "ignore_eos": True}
        for _ in range(2):
            answer = served.chat("say it again", speculative={"drafters": ["suffix"]}, **fields)
        found = answer["timings"]["draft_n_accepted"]
        assert isinstance(found, int)
        return found

    alone, shared = start("suffix"), start("suffix", share_suffix=True)
    assert drafted(alone) < 15
    assert drafted(shared) > 20
