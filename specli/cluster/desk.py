"""One engine for several callers: prompts of all of them run side by side, without a pause."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from queue import SimpleQueue

from specli.batch.ids import Ids
from specli.batch.input import Entry
from specli.batch.prompt import Bad, Prompt
from specli.batch.requests import Defaults
from specli.batch.run import Limits, Work, answer_all
from specli.batch.totals import Failure, Totals
from specli.errors import ClosedError
from specli.session import Session


@dataclass(slots=True, eq=False)
class Answer:
    """What became of a prompt: a record, the reason why there is none, or both after a timeout."""

    record: bytes | None = None
    failure: str | None = None
    settled: threading.Event = field(default_factory=threading.Event)


class Desk:
    """A batch without end, in a thread of its own. It is the source of its prompts, the output of
    their records and the watcher of their failures."""

    def __init__(
        self,
        session: Session,
        defaults: Defaults,
        settings: Mapping[str, object],
        limits: Limits,
    ) -> None:
        self._session = session
        self._inbox: SimpleQueue[Prompt | None] = SimpleQueue()
        self._numbers = count()
        self._waiting: dict[str, Answer] = {}
        self._written: list[str] = []
        self._lock = threading.Lock()
        self._problem: BaseException | None = None
        self._work = Work(
            source=self,
            defaults=defaults,
            settings=settings,
            output=self,
            known=_Forgotten(),
            in_order=False,
            limits=limits,
        )
        self._thread = threading.Thread(target=self._run, name="specli-desk", daemon=True)
        self._thread.start()

    def answers(self, entries: Sequence[Entry]) -> list[Answer]:
        """What becomes of prompts, in their order. Any thread may wait for it.

        Raises what ended the engine.
        """
        asked = [
            Answer(failure=entry.reason) if isinstance(entry, Bad) else self._ask(entry)
            for entry in entries
        ]
        for entry, answer in zip(entries, asked, strict=True):
            if isinstance(entry, Bad):
                continue
            answer.settled.wait()
            if answer.record is not None:
                answer.record = _named(answer.record, entry.id)
        if self._problem is not None and any(not (one.record or one.failure) for one in asked):
            raise self._problem
        return asked

    def close(self) -> None:
        """End the thread after what it has been given."""
        self._inbox.put(None)
        self._thread.join()

    def _ask(self, prompt: Prompt) -> Answer:
        answer = Answer()
        with self._lock:
            if self._problem is not None:
                raise self._problem
            # Ids of several callers may be the same.
            key = str(next(self._numbers))
            self._waiting[key] = answer
        self._inbox.put(replace(prompt, id=key, location=key))
        return answer

    def _run(self) -> None:
        problem: BaseException = ClosedError("this engine is closed", hint="make a new one")
        session = self._session
        try:
            model = session.target_model
            answer_all(self._work, session.engine(), model, session.slots, Totals(), self)
        except BaseException as error:
            problem = error
        with self._lock:
            self._problem = problem
            left, self._waiting = self._waiting, {}
        for answer in left.values():
            answer.settled.set()

    def _settle(self, key: str, failure: str | None) -> None:
        answer = self._waiting.pop(key)
        answer.failure = failure
        answer.settled.set()

    def entries(self) -> Iterator[Entry]:
        while (prompt := self._inbox.get()) is not None:
            yield prompt

    def ready(self) -> bool:
        return not self._inbox.empty()

    def total(self) -> int | None:
        return None

    def held(self, id_: str) -> bytes | None:  # noqa: ARG002
        return None

    def hold(self, id_: str, record: bytes) -> None:
        raise NotImplementedError("answers are written as they come")

    def write(self, id_: str, record: bytes) -> None:
        self._waiting[id_].record = record
        self._written.append(id_)

    def failed(self, failure: Failure) -> None:
        self._settle(failure.location, failure.reason)

    def changed(self, totals: Totals) -> None:  # noqa: ARG002
        # Of an answer that timed out the record comes first and then the failure.
        for key in self._written:
            if key in self._waiting:
                self._settle(key, None)
        self._written.clear()


class _Forgotten(Ids):
    """Remembers no id: keys are never the same."""

    def __init__(self) -> None:
        pass

    def get(self, key: str) -> int | None:  # noqa: ARG002
        return None

    def put(self, key: str, value: int) -> None:
        pass


def _named(record: bytes, id_: str) -> bytes:
    """A record under its prompt's own id."""
    return json.dumps({**json.loads(record), "id": id_}, ensure_ascii=False).encode() + b"\n"
