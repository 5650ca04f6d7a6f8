"""The thread that owns the models: every native call of an LLM is made in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from specli.api.scheduler import Call, Scheduler
from specli.errors import ClosedError
from specli.session import Session


@dataclass(frozen=True, slots=True)
class _Cancel:
    call: Call


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


class EngineThread:
    """Loads a session, steps its engine while there are requests, and frees the session.

    Requests come in through one inbox; each call has a queue of its own for what goes out. The
    thread sleeps on the inbox while nothing runs.
    """

    def __init__(self, load: Callable[[], Session]) -> None:
        """Start the thread and wait until the models are loaded. Raises what `load` raises.

        Loading in the thread keeps signal handlers as they are: they belong to the main thread.
        """
        self._inbox: SimpleQueue[Call | _Cancel | _Stop] = SimpleQueue()
        # Reentrant, because a finaliser can close an LLM at any bytecode of any thread.
        self._closing = threading.RLock()
        self._closed = False
        self._problem: BaseException | None = None
        self._scheduler: Scheduler | None = None
        loaded: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._run, args=(load, loaded), name="specli-engine", daemon=True
        )
        self._thread.start()
        try:
            problem = loaded.get()
        except BaseException:
            self._inbox.put(_Stop())
            raise
        if problem is not None:
            self._thread.join()
            raise problem

    @property
    def scheduler(self) -> Scheduler:
        """Who gives requests to the engine; other threads only read its facts."""
        if self._scheduler is None:
            raise closed()
        return self._scheduler

    def submit(self, call: Call) -> None:
        """Queue a call. Raises ClosedError after `close`, and in a forked process."""
        with self._closing:
            if self._closed or not self._thread.is_alive():
                raise closed()
            self._inbox.put(call)

    def cancel(self, call: Call) -> None:
        """End what still runs of a call. Takes no lock: finalisers of generators come here."""
        self._inbox.put(_Cancel(call))

    def close(self) -> None:
        """End all calls with ClosedError, free the models and wait for that.

        Raises what went wrong while they were freed, once.
        """
        with self._closing:
            self._closed = True
        self._inbox.put(_Stop())
        # The garbage collector may close an LLM from any thread, this one included.
        if threading.current_thread() is not self._thread:
            self._thread.join()
        problem, self._problem = self._problem, None
        if problem is not None:
            raise problem

    def _run(self, load: Callable[[], Session], loaded: SimpleQueue[BaseException | None]) -> None:
        try:
            session = load()
        except BaseException as error:
            loaded.put(error)
            return
        try:
            with session:
                self._scheduler = Scheduler(session)
                loaded.put(None)
                self._serve(self._scheduler)
        except BaseException as error:
            self._problem = error
        finally:
            self._refuse_rest()

    def _serve(self, scheduler: Scheduler) -> None:
        error: BaseException = _closed_meanwhile()
        try:
            while True:
                while scheduler.idle or not self._inbox.empty():
                    item = self._inbox.get()
                    if isinstance(item, _Stop):
                        return
                    if isinstance(item, Call):
                        scheduler.add(item)
                    else:
                        scheduler.cancel(item.call)
                scheduler.step()
        except BaseException as failure:
            error = failure
            raise
        finally:
            scheduler.end_all(error)

    def _refuse_rest(self) -> None:
        """Nothing is added to the inbox from here on; whoever is in it must not wait for ever."""
        with self._closing:
            self._closed = True
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Call):
                item.put(_closed_meanwhile())


def closed() -> ClosedError:
    return ClosedError("this LLM is closed", hint="make a new one, in this process")


def _closed_meanwhile() -> ClosedError:
    return ClosedError(
        "this LLM was closed before the request was finished",
        hint="close it after the last request",
    )
