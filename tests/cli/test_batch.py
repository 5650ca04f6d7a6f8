"""`specli batch` on tiny models: records, and that they are what `specli run` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specli.batch.prompt import Prompt
from specli.batch.requests import Defaults, build
from specli.engine.sequence import GenerationRequest
from specli.llama.model import Model
from tests.cli.conftest import Specli

TARGET = ["-m", "target.gguf", "--ignore-eos", "-n", "24"]
# With 16-bit caches near ties fall by where in the cache a sequence lies.
EXACT = ["-fa", "off", "-ctk", "f32", "-ctv", "f32", "-ctkd", "f32", "-ctvd", "f32"]
DRAFTED = ["-md", "draft.gguf", "--draft", "3"]
PROMPTS = ["hello", "what now", "a b c a b c", "one more prompt, of some length", "?"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in PROMPTS))
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def texts(path: Path) -> dict[str, str]:
    found = records(path)
    assert len({record["id"] for record in found}) == len(found)
    return {record["id"]: record["text"] for record in found}


SAMPLED = ["--temp", "0.8", "--seed", "5", "--repeat-penalty", "1.2"]


@pytest.mark.parametrize("sampling", [[], SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.slow
def test_texts_are_those_of_run_at_any_parallel_and_with_any_drafter(
    specli: Specli, prompts: Path, tmp_path: Path, sampling: list[str]
) -> None:
    flags = [*TARGET, *EXACT, *sampling]
    expected = {}
    for number, text in enumerate(PROMPTS, 1):
        told = json.loads(specli("run", "--json", "--draft", "0", *flags, text).out)
        expected[str(number)] = told["text"]
    for name, more in {
        "one": ["-np", "1", *DRAFTED],
        "three": ["-np", "3", "--draft", "0"],
        "many": ["-np", "8", *DRAFTED],
        "suffix": ["-np", "2", "--no-draft"],
    }.items():
        output = tmp_path / f"{name}.jsonl"
        outcome = specli("batch", str(prompts), *flags, *more, "-o", str(output))
        assert outcome.code == 0, outcome.err
        assert texts(output) == expected, name


def test_a_record_says_of_a_text_what_run_says(specli: Specli, prompts: Path) -> None:
    ran = json.loads(specli("run", "--json", *TARGET, *DRAFTED, "hello").out)
    outcome = specli("batch", str(prompts), *TARGET, *DRAFTED)
    record = json.loads(outcome.out.splitlines()[0])
    # Of many texts no one looks at every round.
    assert list(record) == ["id", *(name for name in ran if name != "rounds"), "hash"]
    for name in ("text", "finish_reason", "prompt_tokens", "completion_tokens"):
        assert record[name] == ran[name]
    assert record["timings"].keys() == ran["timings"].keys()
    assert record["timings"]["draft_n"] == ran["timings"]["draft_n"] > 0
    assert record["speculation"].keys() == ran["speculation"].keys()
    assert record["speculation"]["by_drafter"] == ran["speculation"]["by_drafter"]


def test_a_line_overrides_the_flags(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [
        {"id": "plain", "prompt": "hello"},
        {"id": "short", "prompt": "hello", "max_tokens": 3},
        {"id": "sampled", "prompt": "hello", "temperature": 0.9, "seed": 4},
        {"id": "system", "prompt": "hello", "system": "be brief"},
        {"id": "said", "messages": [{"role": "user", "content": "hello"}]},
        {"id": "schema", "prompt": "hello", "json_schema": {"enum": [True]}},
        {"custom_id": "openai", "body": {"messages": [{"role": "user", "content": "hello"}]}},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = specli("batch", str(path), *TARGET, *EXACT, "-np", "3", "--draft", "0")
    assert outcome.code == 0, outcome.err
    found = {r["id"]: r for r in map(json.loads, outcome.out.splitlines())}
    assert list(found) == ["plain", "short", "sampled", "system", "said", "schema", "openai"]

    def ran(*more: str) -> str:
        told = json.loads(specli("run", "--json", *TARGET, *EXACT, "--draft", "0", *more).out)
        return str(told["text"])

    plain = ran("hello")
    assert found["plain"]["text"] == found["said"]["text"] == found["openai"]["text"] == plain
    assert found["short"]["completion_tokens"] == 3
    assert found["sampled"]["text"] == ran("--temp", "0.9", "--seed", "4", "hello") != plain
    assert found["system"]["text"] == ran("--system", "be brief", "hello") != plain
    assert json.loads(found["schema"]["text"]) is True


def test_a_line_may_say_what_its_answer_will_be_like(
    specli: Specli, tmp_path: Path, prompts: Path
) -> None:
    flags = [*TARGET, *EXACT, "--no-draft", "--ngram-size", "20"]
    plain = [json.loads(line) for line in specli("batch", str(prompts), *flags).out.splitlines()]
    path = tmp_path / "predicted.jsonl"
    path.write_text(
        "".join(
            json.dumps({"prompt": text, "prediction": record["text"].strip("\ufffd")}) + "\n"
            for text, record in zip(PROMPTS, plain, strict=True)
        )
    )
    outcome = specli("batch", str(path), *flags, "-np", "2")
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [r["text"] for r in found] == [r["text"] for r in plain]
    drafted = [r["speculation"]["by_drafter"].get("prediction", {"drafted": 0}) for r in found]
    assert all(counts["drafted"] > 0 for counts in drafted)


def test_a_line_may_bound_and_choose_its_drafters(specli: Specli, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    own: dict[str, object] = {
        "all": None,
        "off": False,
        "one": {"n_max": 1},
        "suffix": {"drafters": ["suffix"]},
        "unknown": {"type": "ngram-cache"},
        "misspelt": {"nmax": 1},
    }
    lines = [{"id": id_, "prompt": "hello", "speculative": asked} for id_, asked in own.items()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = specli("batch", str(path), *TARGET, *EXACT, *DRAFTED, "--spec-type", "draft,suffix")
    found = {r["id"]: r for r in map(json.loads, outcome.out.splitlines())}
    assert len({record["text"] for record in found.values()}) == 1
    assert found["all"]["timings"]["draft_n"] > 0 == found["off"]["timings"]["draft_n"]
    one = found["one"]["speculation"]
    assert 0 < one["by_drafter"]["draft"]["drafted"] <= one["rounds"]
    assert "draft" not in found["suffix"]["speculation"]["by_drafter"]
    assert "no drafter 'ngram-cache' is loaded; there are: draft, suffix" in outcome.err
    assert "speculative.nmax is not supported" in outcome.err


HOSTILE = [
    r"""{"id": "cut \ud83d", "prompt": "a"}""",
    r"""{"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}]}""",
    r"""{"custom_id": "p", "body": {"messages": [{"role": "user", "content": "a"}],
        "prediction": {"type": "content", "content": "\udc00"}}}""".replace("\n", " "),
    '{"custom_id": "q", "body": {"prompt": "a", "frequency_penalty": 1e39}}',
    '{"prompt": "a", "temperature": 1e39}',
    '{"prompt": "a", "max_tokens": 1' + 30 * "0" + "}",
    '{"prompt": "a", "seed": 1' + 30 * "0" + "}",
    '{"prompt": "a", "max_tokens": ' + 5000 * "9" + "}",
    '{"prompt": "a", "json_schema": {"type": "string", "pattern": "^*$"}}',
    '{"prompt": "a", "json_schema": ' + 900 * '{"items": ' + "{}" + 900 * "}" + "}",
    '{"prompt": "a", "json_schema": ' + 90_000 * '{"items": ' + "{}" + 90_000 * "}" + "}",
    '{"prompt": "a", "json_schema": "' + 90_000 * "[" + '"}',
]


def test_no_line_ends_a_batch(
    specli: Specli, tmp_path: Path, answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prompts.jsonl"
    last = '{"prompt": "z", "id": "last"}'
    path.write_text("\n".join([*HOSTILE, '{"prompt": "planted"}', last]) + "\n")

    def planted(model: Model, prompt: Prompt, defaults: Defaults) -> GenerationRequest:
        if prompt.messages[0][1] == "planted":
            raise LookupError("it was planted")
        return build(model, prompt, defaults)

    monkeypatch.setattr("specli.batch.run.build", planted)
    report = tmp_path / "report.json"
    flags = [*TARGET, "-n", "2", "-o", str(answers), "--report", str(report)]
    outcome = specli("batch", str(path), *flags)
    assert outcome.code == 5, outcome.err
    assert list(texts(answers)) == ["last"]
    failures = json.loads(report.read_text())["failures"]
    assert len(failures) == len(HOSTILE) + 1
    *others, fault = failures
    assert {one["kind"] for one in others} == {"input"}
    assert fault["kind"] == "fault"
    assert "LookupError: it was planted; please report it" in fault["reason"]
    monkeypatch.undo()


def test_bad_lines_are_told_and_the_others_answered(
    specli: Specli, tmp_path: Path, answers: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"prompt": "a", "id": "x"}\nnonsense\n{"prompt": "b", "id": "x"}\n'
        f'{{"prompt": "{"long " * 100}", "id": "l"}}\n'
        '{"prompt": "c", "json_schema": {"type": 5}}\n{"prompt": "d"}\n'
    )
    report = tmp_path / "report.json"
    flags = [*TARGET, "-c", "128", "-o", str(answers), "--report", str(report)]
    outcome = specli("batch", str(path), *flags)
    assert outcome.code == 5
    assert list(texts(answers)) == ["x", "6"]
    told = outcome.err.splitlines()
    assert f"{path}:2: not JSON: Expecting value: line 1 column 1 (char 0)" in told
    assert f"{path}:3: a second prompt with the id 'x'" in told
    assert any(line.startswith(f"{path}:4: the prompt has ") for line in told)
    assert any(line.startswith(f"{path}:5: the JSON schema ") for line in told)
    assert told[-1] == "error: 4 of 6 prompts failed"
    totals = json.loads(report.read_text())
    assert (totals["answered"], totals["failed"]) == (2, 4)
    assert [failure["location"] for failure in totals["failures"]] == [
        f"{path}:{number}" for number in (2, 3, 4, 5)
    ]
    assert totals["completion_tokens"] == sum(r["completion_tokens"] for r in records(answers))


@pytest.mark.parametrize("unordered", [[], ["--unordered"]])
def test_strict_generates_nothing_where_one_prompt_is_bad(
    specli: Specli, prompts: Path, answers: Path, unordered: list[str]
) -> None:
    flags = [*TARGET, "--strict", "-o", str(answers), *unordered]
    whole = prompts.read_text()
    prompts.write_text(whole + '{"prompt": "a", "id": "1"}\n{}\n')
    outcome = specli("batch", str(prompts), *flags)
    assert outcome.code == 5
    assert outcome.err.splitlines()[0] == f"{prompts}:6: a second prompt with the id '1'"
    assert "2 of the prompts cannot be answered" in outcome.err
    assert answers.read_bytes() == b""
    prompts.write_text(whole)
    assert specli("batch", str(prompts), *flags).code == 0
    assert len(texts(answers)) == len(PROMPTS)


@pytest.mark.parametrize(("most", "failures"), [("1", "1 failure"), ("2", "2 failures")])
def test_too_many_failures_stop_the_batch(
    specli: Specli, prompts: Path, most: str, failures: str
) -> None:
    prompts.write_text("x\ny\nz\n" + prompts.read_text())
    outcome = specli("batch", str(prompts), *TARGET, "--format", "jsonl", "--max-failures", most)
    assert outcome.code == 5
    assert outcome.out == ""
    assert outcome.err.splitlines()[-1] == f"error: stopped after {failures} (--max-failures)"


def test_an_answer_that_takes_too_long_is_cut_and_says_so(
    specli: Specli, tmp_path: Path, answers: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a", "max_tokens": 30000}\n{"prompt": "b"}\n')
    flags = ["-m", "long.gguf", "-c", "0", "-n", "2", "--ignore-eos", "--timeout", "0.5"]
    outcome = specli("batch", str(path), *flags, "-o", str(answers))
    assert outcome.code == 5
    cut, other = records(answers)
    assert cut["finish_reason"] == "timeout"
    assert 0 < cut["completion_tokens"] < 30000
    assert cut["text"]
    assert other["finish_reason"] == "length"
    assert f"{path}:1: took longer than --timeout" in outcome.err


def test_an_answer_that_timed_out_is_tried_again_by_the_same_command(
    specli: Specli, tmp_path: Path, answers: Path
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    command = [
        "batch",
        str(path),
        "-m",
        "long.gguf",
        "-c",
        "0",
        "-n",
        "600",
        "--ignore-eos",
        "-np",
        "2",
    ]
    command += ["-o", str(answers), "--timeout"]
    assert specli(*command, "0.001").code == 5
    assert {record["finish_reason"] for record in records(answers)} == {"timeout"}
    assert specli(*command, "0.001").code == 5
    outcome = specli(*command, "100")
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith("2 answered, 1200 tokens")
    assert [record["finish_reason"] for record in records(answers)] == ["length", "length"]
    assert sorted(texts(answers)) == ["1", "2"]
    assert specli(*command, "100").err == "0 answered, 2 earlier\n"


HALF = "cut \ud83d"
FATAL = {
    "message": {"messages": [{"role": "user", "content": HALF}]},
    "part": {"messages": [{"role": "user", "content": [{"type": "text", "text": HALF}]}]},
    "id": {"id": HALF, "prompt": "a"},
    "prediction": {"prompt": "a", "prediction": HALF},
    "openai prediction": {
        "custom_id": "x",
        "body": {
            "messages": [{"role": "user", "content": "a"}],
            "prediction": {"type": "content", "content": HALF},
        },
    },
    "pattern": {"prompt": "a", "json_schema": {"type": "string", "pattern": "^*$"}},
    "penalty": {
        "custom_id": "x",
        "body": {"messages": [{"role": "user", "content": "a"}], "presence_penalty": 1e39},
    },
}


@pytest.mark.parametrize("name", FATAL)
@pytest.mark.parametrize("strict", [[], ["--strict"]], ids=["", "strict"])
def test_whatever_is_wrong_with_one_line_the_others_are_answered(
    specli: Specli, tmp_path: Path, answers: Path, name: str, strict: list[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": "first"}, FATAL[name], {"prompt": "last"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = specli("batch", str(path), *TARGET, "-o", str(answers), *strict)
    assert outcome.code == 5, outcome.err
    assert sum(line.startswith(f"{path}:2: ") for line in outcome.err.splitlines()) == 1
    assert list(texts(answers)) == ([] if strict else ["1", "3"])


@pytest.mark.parametrize("form", ["text", "csv", "folder"])
def test_every_form_of_input_is_answered(specli: Specli, tmp_path: Path, form: str) -> None:
    more = ["--template", "<{text}>"]
    path = tmp_path / "prompts"
    if form == "text":
        path.write_text("hello\n")
    elif form == "csv":
        path.write_text("question\nhello\n")
        more += ["--column", "question"]
    else:
        path.mkdir()
        (path / "a").write_text("hello\n")
    outcome = specli("batch", str(path), *TARGET, *more)
    assert outcome.code == 0, outcome.err
    ran = json.loads(specli("run", "--json", *TARGET, "<hello>").out)
    assert json.loads(outcome.out)["text"] == ran["text"]


def test_raw_prompts_have_no_chat_template(specli: Specli, prompts: Path) -> None:
    outcome = specli("batch", str(prompts), *TARGET, "--raw")
    ran = json.loads(specli("run", "--json", "--raw", *TARGET, "hello").out)
    assert json.loads(outcome.out.splitlines()[0])["text"] == ran["text"]


def test_a_pipe_gets_records_only_and_stderr_one_line(specli: Specli, prompts: Path) -> None:
    outcome = specli("batch", str(prompts), *TARGET, *DRAFTED)
    assert all(json.loads(line) for line in outcome.out.splitlines())
    (line,) = outcome.err.splitlines()
    assert line.startswith("5 answered, 120 tokens in ")
    assert specli("batch", str(prompts), *TARGET, *DRAFTED, "-q").err == ""


ERRORS: dict[str, tuple[list[str], str]] = {
    "no input": (["no.jsonl"], "no.jsonl"),
    "column": (["p.jsonl", "--column", "a", "--format", "text"], "--column is for CSV"),
    "template": (["p.jsonl", "--template", "same"], "uses no field"),
    "parallel word": (["p.jsonl", "-np", "many"], "'many'"),
    "system": (["p.jsonl", "--raw", "--system", "s"], "--raw"),
    "report": (["p.jsonl", "--report", "no/r.json"], "no folder"),
    "restart": (["p.jsonl", "--restart"], "-o"),
    "itself": (["p.jsonl", "-o", "p.jsonl"], "input and output"),
    "inside": (["folder", "-o", "folder/out.jsonl"], "would become a prompt"),
    "folder": (["p.jsonl", "-o", "folder"], "is a folder"),
    "somewhere": (["p.jsonl", "-o", "no/out.jsonl"], "no such folder"),
    "not records": (["p.jsonl", "-o", "notes.txt"], "not a record"),
    "grammar": (["p.jsonl", "--json-schema", "{"], "not valid JSON"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_usage_is_a_sentence_with_a_hint(
    specli: Specli, tmp_path: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments, told = ERRORS[name]
    (tmp_path / "folder").mkdir()
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "notes.txt").write_text("mine\n")
    monkeypatch.chdir(tmp_path)
    outcome = specli("batch", *arguments, "-m", str(sealed / "target.gguf"), "-n", "2")
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    assert told in outcome.err
    assert outcome.err.splitlines()[-1].startswith("hint: ")
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


@pytest.mark.parametrize("flags", [("-np", "0"), ("-np", "257"), ("--max-failures", "0")])
def test_a_number_out_of_range_is_named_with_its_range(
    specli: Specli, flags: tuple[str, str]
) -> None:
    outcome = specli("batch", "p.jsonl", *flags)
    assert (outcome.code, outcome.out) == (2, "")
    assert "but must be 1" in outcome.err


def test_a_draft_of_another_vocabulary_changes_no_text_of_several_at_once(
    specli: Specli, prompts: Path, tmp_path: Path
) -> None:
    found = []
    for number, more in enumerate(
        (["--draft", "0"], ["-md", "sentencepiece.gguf", "--draft", "3"])
    ):
        output = tmp_path / f"{number}.jsonl"
        flags = [*TARGET, *EXACT, *SAMPLED, "-np", "3", *more]
        outcome = specli("batch", str(prompts), *flags, "-o", str(output))
        assert outcome.code == 0, outcome.err
        found.append(texts(output))
    assert found[0] == found[1]
    assert "sentencepiece.gguf has another vocabulary" in outcome.err
    assert sum(record["timings"]["draft_n"] for record in records(output)) > 0
