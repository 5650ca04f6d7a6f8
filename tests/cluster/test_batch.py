"""`specli batch --ray` with one engine in this process in the place of a cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from specli.cluster import batch as cluster
from specli.cluster.engine import PROMPT, BatchEngine
from specli.cluster.pool import Pool
from specli.cluster.ray import Node
from tests.cli.conftest import Specli, models, sealed, specli

__all__ = ["models", "sealed", "specli"]

FLAGS = ["-m", "target.gguf", "-md", "draft.gguf", "--draft", "3", "-n", "12", "--seed", "1"]
ENGINE = {"node": "abc", "address": "10.0.0.2", "pid": 7}


class FakeCluster:
    """Answers in tasks, the last first; `about` is said of every answer."""

    def __init__(self, about: dict[str, object], fault: Exception | None = None) -> None:
        self.about = about
        self.fault = fault
        self.sent: list[str] = []

    def answers(self, _ray: object, pool: Pool, prompts: list[str], given: Any) -> FakeCluster:
        self.sent, self.rows, self.given = prompts, pool.rows, given
        return self

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        if self.fault is not None:
            raise self.fault
        engine = BatchEngine(**self.given)
        try:
            for start in reversed(range(0, len(self.sent), self.rows)):
                task = self.sent[start : start + self.rows]
                answers = engine({PROMPT: task})
                for index in range(len(task)):
                    row = {name: values[index] for name, values in answers.items()}
                    yield {**row, "ticket": start + index, "engine": json.dumps(self.about)}
        finally:
            engine.close()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Any:
    def running(
        about: dict[str, object] | None = None, fault: Exception | None = None, cpus: int = 2
    ) -> FakeCluster:
        fake = FakeCluster(about or ENGINE, fault)
        monkeypatch.setattr(cluster, "imported", lambda _address: None)
        monkeypatch.setattr(cluster, "connected", lambda _ray, _address: nullcontext())
        monkeypatch.setattr(cluster, "nodes", lambda _ray: [Node(cpus, 0)])
        monkeypatch.setattr(cluster, "_answers", fake.answers)
        return fake

    return running


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines = [{"id": f"p{n}", "prompt": f"the cat {n}"} for n in range(8)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_records_are_those_of_a_batch_here_and_in_the_order_of_the_input(
    specli: Specli, running: Any, prompts: Path, tmp_path: Path
) -> None:
    expected = specli("batch", str(prompts), *FLAGS, "-np", "1")
    running()
    outcome = specli("batch", str(prompts), *FLAGS, "-np", "1", "--ray", "-o", str(tmp_path / "o"))
    assert outcome.code == 0, outcome.err
    assert "8 answered" in outcome.err
    assert "by 1 engine on 1 node" in outcome.err
    here = [json.loads(line) for line in expected.out.splitlines()]
    there = [json.loads(line) for line in (tmp_path / "o").read_text().splitlines()]
    names = ("id", "text", "hash", "settings", "finish_reason", "completion_tokens")
    assert [[one[name] for name in names] for one in there] == [
        [one[name] for name in names] for one in here
    ]


def test_only_prompts_without_a_record_are_sent_and_the_report_names_engines(
    specli: Specli, running: Any, prompts: Path, tmp_path: Path
) -> None:
    output, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    fake = running()
    assert specli("batch", str(prompts), *FLAGS, "--ray", "-o", str(output)).code == 0
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:5]))
    outcome = specli(
        "batch", str(prompts), *FLAGS, "--ray", "-o", str(output), "--report", str(report)
    )
    assert outcome.code == 0, outcome.err
    assert len(fake.sent) == 3
    assert output.read_text().count("\n") == 8
    told = json.loads(report.read_text())
    assert told["answered_earlier"] == 5
    assert told["engines"] == [{**ENGINE, "answered": 3}]


def test_a_bad_line_fails_alone_and_is_told_as_in_a_batch_here(
    specli: Specli, running: Any, prompts: Path, tmp_path: Path
) -> None:
    with prompts.open("a") as file:
        file.write("{}\n")
    expected = specli("batch", str(prompts), *FLAGS)
    running()
    outcome = specli("batch", str(prompts), *FLAGS, "--ray", "-o", str(tmp_path / "out.jsonl"))
    assert outcome.code == expected.code == 5
    line = f"{prompts}:9: needs one of prompt and messages, has neither\n"
    assert line in outcome.err
    assert line in expected.err


def test_an_engine_that_cannot_load_its_models_is_an_error_that_names_its_node(
    specli: Specli, running: Any, prompts: Path
) -> None:
    running({**ENGINE, "problem": ["target.gguf is cut short", "fetch it again", 1]})
    outcome = specli("batch", str(prompts), *FLAGS, "--ray")
    assert outcome.code == 1
    assert "target.gguf is cut short (on node 10.0.0.2)" in outcome.err
    assert "fetch it again" in outcome.err


def test_what_ends_the_cluster_is_said_in_a_sentence(
    specli: Specli, running: Any, prompts: Path
) -> None:
    running(fault=RuntimeError("Traceback of a worker\nActorDiedError: out of memory"))
    outcome = specli("batch", str(prompts), *FLAGS, "--ray")
    assert outcome.code == 1
    assert "the cluster ended the batch: ActorDiedError: out of memory" in outcome.err
    assert "the same command goes on" in outcome.err


def test_a_cluster_that_is_gone_ends_the_wait(
    specli: Specli, running: Any, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, over = running(), threading.Event()
    monkeypatch.setattr(fake, "iter_rows", over.wait)
    monkeypatch.setattr(cluster, "_SILENCE", 0.0)
    monkeypatch.setattr(cluster, "is_there", lambda _ray: False)
    outcome = specli("batch", str(prompts), *FLAGS, "--ray")
    over.set()
    assert outcome.code == 1
    assert "the cluster ended the batch: nothing answers any more" in outcome.err


def test_an_engine_for_which_this_machine_has_no_cores_is_refused(
    specli: Specli, running: Any, prompts: Path
) -> None:
    running()
    outcome = specli("batch", str(prompts), *FLAGS, "--ray", "-t", "64")
    assert outcome.code == 2
    assert "no 64 CPUs for an engine" in outcome.err


def test_parquet_from_a_uri_is_answered(specli: Specli, running: Any, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "in.parquet"
    parquet.write_table(pyarrow.table({"id": ["a", "b"], "prompt": ["the cat", "rain"]}), path)
    running()
    for more in ([], ["--ray"]):
        outcome = specli("batch", path.as_uri(), *FLAGS, *more)
        assert outcome.code == 0, outcome.err
        assert [json.loads(line)["id"] for line in outcome.out.splitlines()] == ["a", "b"]


def test_records_in_an_object_store_are_refused(specli: Specli, prompts: Path) -> None:
    outcome = specli("batch", str(prompts), *FLAGS, "-o", "s3://bucket/out.jsonl")
    assert outcome.code == 2
    assert "a file on this machine, not to s3://bucket/out.jsonl" in outcome.err
