"""The file of records after any kill, and the order of what is written."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specli.batch.ids import Ids
from specli.batch.output import HELD_SUFFIX, InOrder, Journal
from specli.batch.prompt import Prompt
from specli.batch.records import record_line, short_hash
from specli.batch.requests import request_hash
from specli.errors import SpecliError, UsageError

SETTINGS: dict[str, object] = {"model": "m.gguf", "temp": 0.5, "seed": 1}
IDS = ["a", "ü", "c"]


def hash_of(id_: str) -> str:
    return request_hash(Prompt(id_, "here", (("user", id_),)), SETTINGS)


def line(id_: str, settings: dict[str, object] = SETTINGS) -> bytes:
    return record_line(id_, {"text": f"text of {id_}\n"}, settings, hash_of(id_))


WHOLE = b"".join(map(line, IDS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def ids_in(path: Path) -> list[str]:
    return [json.loads(record)["id"] for record in path.read_bytes().splitlines()]


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_a_file_torn_at_any_byte_is_gone_on_from_without_loss_or_double(
    path: Path, cut: int
) -> None:
    path.write_bytes(WHOLE[:cut])
    known = Ids()
    with Journal(path, known) as journal:
        # A record that lacks no more than its newline is whole.
        kept = [id_ for id_, end in zip(IDS, ends(), strict=True) if end - 1 <= cut]
        assert journal.records == len(kept)
        assert [id_ for id_ in IDS if known.get(id_) == short_hash(hash_of(id_))] == kept
        for id_ in IDS[len(kept) :]:
            journal.write(id_, line(id_))
    assert path.read_bytes() == WHOLE
    assert list(path.parent.iterdir()) == [path]


def ends() -> list[int]:
    return [len(b"".join(map(line, IDS[: count + 1]))) for count in range(len(IDS))]


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_records_that_wait_survive_a_tear_as_well(path: Path, cut: int) -> None:
    held = path.with_name(path.name + HELD_SUFFIX)
    path.write_bytes(line(IDS[0]))
    held.write_bytes(WHOLE[:cut])
    with Journal(path, Ids()) as journal:
        # The first has had its turn already.
        assert journal.held(IDS[0]) is None
        waiting = [id_ for id_, end in zip(IDS[1:], ends()[1:], strict=True) if end - 1 <= cut]
        for id_ in IDS[1:]:
            record = journal.held(id_)
            assert (record is not None) == (id_ in waiting)
            journal.write(id_, record or line(id_))
    assert path.read_bytes() == WHOLE
    assert not held.exists()


@settings(deadline=None, max_examples=60)
@given(data=st.data(), killed=st.integers(0, 12), in_order=st.booleans())
def test_any_order_of_finishing_and_a_kill_leave_each_record_once(
    data: st.DataObject, killed: int, in_order: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("any") / "answers.jsonl"
    every = [str(number) for number in range(8)]
    failing = data.draw(st.sets(st.sampled_from(every), max_size=2))
    finishing = data.draw(st.permutations(every))
    computed = []
    for finished in (finishing[:killed], finishing):
        known = Ids()
        with Journal(path, known) as journal:
            order = InOrder(journal, in_order=in_order)
            todo = [id_ for id_ in every if known.get(id_) is None]
            tickets = {id_: order.draw() for id_ in todo}
            for id_ in todo:
                if (record := journal.held(id_)) is not None:
                    order.put(tickets.pop(id_), id_, record)
            for id_ in finished:
                if id_ in tickets:
                    computed.append(id_)
                    order.put(tickets[id_], id_, None if id_ in failing else line(id_))
    expected = [id_ for id_ in every if id_ not in failing]
    found = ids_in(path)
    assert sorted(found) == expected
    assert found == expected or not in_order
    assert all(computed.count(id_) == 1 for id_ in expected)


def test_records_that_have_had_their_turn_do_not_pile_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specli.batch.output.MOST_HELD", 10 * len(line("000")))
    held = path.with_name(path.name + HELD_SUFFIX)
    with Journal(path, Ids()) as journal:
        journal.hold("late", line("late"))
        for number in range(100):
            id_ = f"{number:03}"
            journal.hold(id_, line(id_))
            journal.write(id_, line(id_))
        assert held.stat().st_size <= 12 * len(line("000"))
        assert ids_in(held)[0] == "late"
    with Journal(path, Ids()) as journal:
        assert journal.held("late") == line("late")
        assert journal.held("099") is None


def timed_out(id_: str) -> bytes:
    report = {"text": "half", "finish_reason": "timeout"}
    return record_line(id_, report, SETTINGS, hash_of(id_))


def test_answers_that_timed_out_are_missing_and_leave_with_the_first_write(path: Path) -> None:
    content = line("a") + timed_out("ü") + line("c")
    path.write_bytes(content)
    path.with_name(path.name + HELD_SUFFIX).write_bytes(timed_out("d"))
    known = Ids()
    with Journal(path, known) as journal:
        assert [known.get(id_) is None for id_ in IDS] == [False, True, False]
        assert journal.held("d") is None
        assert journal.settings == SETTINGS
        assert path.read_bytes() == content, "nothing is lost before there is a better answer"
        journal.write("ü", line("ü"))
        journal.write("d", line("d"))
    assert ids_in(path) == ["a", "c", "ü", "d"]
    assert list(path.parent.iterdir()) == [path]


def test_other_settings_are_refused_by_name(path: Path) -> None:
    path.write_bytes(WHOLE)
    with Journal(path, Ids()) as journal:
        journal.require_settings(SETTINGS)
        with pytest.raises(UsageError, match=r"\(temp: 0\.5, now 0\.9, top_k: not set, now 5\)"):
            journal.require_settings({**SETTINGS, "temp": 0.9, "top_k": 5})


def test_restart_drops_what_there_is(path: Path) -> None:
    path.write_bytes(WHOLE)
    path.with_name(path.name + HELD_SUFFIX).write_bytes(line("x"))
    known = Ids()
    with Journal(path, known, restart=True) as journal:
        assert journal.settings is None
        assert journal.held("x") is None
    assert len(known) == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        b"my notes",
        b"my notes\n",
        b'{"prompt": "a"}\n',
        b'{"a"',
        b'{"id": "1", "label": "mine',
        b'{"id": 1, "text": "mine',
        b'{"id": "1"}',
        b'{"id": "1", "text": "mine", "label": 2}',
        b'{"id": "1", "text": "mine", "label": 2}\n{"id": "2", "text": "mine", "label": 3}',
    ],
)
def test_a_file_of_something_else_is_left_alone(path: Path, content: bytes, restart: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"answers\.jsonl:1 is not a record"):
        Journal(path, Ids(), restart=restart)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path], "nothing is left beside it either"


def test_a_foreign_last_line_is_refused_as_well(path: Path) -> None:
    content = line("a") + b'{"id": "2", "text": "mine"}'
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"answers\.jsonl:2 is not a record"):
        Journal(path, Ids())
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (line("a") + b"oops\n" + line("c"), "answers.jsonl:2 is not a record"),
        (line("a") + line("c") + line("a"), "answers.jsonl:3: a second record of the id 'a'"),
        (line("a") + line("c", {"seed": 2}), r"records of different settings \(model"),
    ],
)
def test_records_that_no_run_has_left_are_refused(path: Path, content: bytes, told: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UsageError, match=told) as error:
        Journal(path, Ids())
    assert error.value.hint
    assert path.read_bytes() == content


def test_two_runs_cannot_write_one_file(path: Path) -> None:
    with Journal(path, Ids()), pytest.raises(SpecliError, match="another specli batch"):
        Journal(path, Ids())
    Journal(path, Ids()).close()


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_file_with_two_names_is_locked_under_both(
    path: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    path.write_bytes(WHOLE)
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "other.jsonl"
    link(other, path)
    with Journal(path, Ids()) as journal:
        journal.write("d", line("d"))
        with pytest.raises(SpecliError, match="another specli batch"):
            Journal(other, Ids())
    with Journal(other, Ids()) as journal:
        assert journal.records == 4
        journal.write("e", line("e"))
    assert ids_in(path) == [*IDS, "d", "e"]
    assert list(other.parent.iterdir()) == [other]


def test_a_file_that_was_replaced_is_still_locked(path: Path, tmp_path: Path) -> None:
    path.write_bytes(timed_out("a"))
    with Journal(path, Ids()) as journal:
        journal.write("a", line("a"))
        (tmp_path / "other.jsonl").hardlink_to(path)
        with pytest.raises(SpecliError, match="another specli batch"):
            Journal(tmp_path / "other.jsonl", Ids())


def test_an_output_that_is_deleted_meanwhile_is_an_error(path: Path) -> None:
    with Journal(path, Ids()) as journal:
        journal.write("a", line("a"))
        path.unlink()
        with pytest.raises(SpecliError, match="it was deleted meanwhile"):
            journal.write("ü", line("ü"))


def test_a_full_disk_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal(path, Ids()) as journal:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SpecliError, match="No space left") as error:
            journal.write("a", line("a"))
        monkeypatch.undo()
    assert "run the same command again" in str(error.value.hint)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        Journal(tmp_path / "no" / "answers.jsonl", Ids())
