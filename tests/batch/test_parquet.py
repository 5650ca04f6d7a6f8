"""Prompts in Parquet files, alone and as parts of a folder."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from specli.batch.input import Reading, Source
from specli.batch.prompt import Bad, Prompt
from specli.batch.template import Template
from specli.errors import UsageError

pyarrow = pytest.importorskip("pyarrow", reason="PyArrow is not installed")


OPEN: list[IO[bytes]] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def write(path: Path, **columns: list[Any]) -> Path:
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def source(path: Path, notes: list[str] | None = None, **reading: Any) -> Source:
    file = None if path.is_dir() else path.open("rb")
    OPEN.extend([] if file is None else [file])
    told = [] if notes is None else notes
    return Source(path, file, Reading(**reading), notice=told.append)


def prompts(path: Path, **reading: Any) -> list[Prompt]:
    found = list(source(path, **reading).entries())
    assert not [one for one in found if isinstance(one, Bad)]
    return [one for one in found if isinstance(one, Prompt)]


def test_columns_are_fields_and_values_keep_their_kinds(tmp_path: Path) -> None:
    path = write(
        tmp_path / "in.parquet",
        id=["a", None],
        prompt=["one", "two"],
        max_tokens=[3, None],
        temperature=[None, 0.5],
        stop=[["x", "y"], None],
    )
    first, second = prompts(path)
    assert (first.id, first.max_tokens, first.stop) == ("a", 3, ("x", "y"))
    assert (second.id, second.temperature, second.messages) == ("2", 0.5, (("user", "two"),))
    assert second.location == f"{path}:2"
    assert source(path).total() == 2


def test_messages_are_a_column_of_lists(tmp_path: Path) -> None:
    said = [[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]]
    (prompt,) = prompts(write(tmp_path / "in.parquet", messages=said))
    assert prompt.messages == (("system", "s"), ("user", "u"))


def test_a_column_or_a_template_makes_the_prompt(tmp_path: Path) -> None:
    path = write(tmp_path / "in.parquet", review=["good", "bad"], stars=[5, 1])
    assert [one.messages[0][1] for one in prompts(path, column="review")] == ["good", "bad"]
    made = prompts(path, template=Template("{stars}: {review}"))
    assert [one.messages[0][1] for one in made] == ["5: good", "1: bad"]
    with pytest.raises(UsageError, match="no column 'text'"):
        list(source(path, column="text").entries())


def test_values_that_json_has_no_word_for_are_text_in_a_template(tmp_path: Path) -> None:
    path = write(tmp_path / "in.parquet", day=[datetime.date(2026, 1, 2)], raw=[b"abc"])
    (prompt,) = prompts(path, template=Template("{day} {raw}"))
    assert prompt.messages[0][1] == "2026-01-02 abc"


def test_a_row_without_a_prompt_is_bad_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "in.parquet", prompt=["one", None])
    first, second = source(path).entries()
    assert isinstance(first, Prompt)
    assert second == Bad(f"{path}:2", "needs one of prompt and messages, has neither")


def test_parts_in_a_folder_give_their_rows(tmp_path: Path) -> None:
    write(tmp_path / "part-0.parquet", prompt=["one", "two"])
    write(tmp_path / "part-1.parquet", prompt=["three"])
    (tmp_path / "notes.md").write_text("four")
    found = {one.id: one.messages[0][1] for one in prompts(tmp_path)}
    assert found == {
        "notes.md": "four",
        "part-0.parquet:1": "one",
        "part-0.parquet:2": "two",
        "part-1.parquet:1": "three",
    }


def test_a_form_that_is_given_holds_for_every_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "one"}\n{"id": "x", "prompt": "two"}\n')
    (tmp_path / "b.jsonl").write_text('{"prompt": "three"}\n')
    found = {one.id: one.messages[0][1] for one in prompts(tmp_path, kind="jsonl")}
    assert found == {"a.jsonl:1": "one", "x": "two", "b.jsonl:1": "three"}


def test_what_is_not_parquet_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    path.write_bytes(b"not at all")
    with pytest.raises(UsageError, match=r"in\.parquet is not a Parquet file"):
        source(path)


def test_without_pyarrow_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "in.parquet", prompt=["one"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match="needs PyArrow") as caught:
        source(path)
    assert caught.value.hint == "pip install pyarrow"
