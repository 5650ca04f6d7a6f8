"""Three short tasks that show what drafting does with a pair: from little to repeat to much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from specli.app.race import Race, race
from specli.engine.sequence import GenerationRequest
from specli.llama.chat import Message, prompt_tokens
from specli.session import Session


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked for, and its name in a table."""

    name: str
    prompt: str


TASKS = (
    Task("a question", "Why is the sky blue? Answer in one paragraph."),
    Task(
        "a function to rewrite",
        "Rewrite this function with type hints and a docstring. Change nothing else.\n\n"
        "```python\n"
        "def mean_and_spread(values):\n"
        "    total = 0\n"
        "    for value in values:\n"
        "        total = total + value\n"
        "    mean = total / len(values)\n"
        "    spread = 0\n"
        "    for value in values:\n"
        "        spread = spread + (value - mean) ** 2\n"
        "    spread = spread / len(values)\n"
        "    return mean, spread\n"
        "```",
    ),
    Task("a list", "List the months of the year, each with its number of days."),
)


def request_for(session: Session, task: Task, predict: int) -> GenerationRequest:
    """A task as a request, decoded greedily."""
    prompt = prompt_tokens(session.target_model, [Message("user", task.prompt)])
    return GenerationRequest(prompt=prompt, max_tokens=predict)


def races(
    session: Session,
    predict: int,
    seconds: float,
    on_begin: Callable[[Task], None] = lambda _task: None,
) -> Iterator[tuple[Task, Race]]:
    """Each task with and without drafting, each for at most `seconds`; Ctrl-C ends them."""
    for task in TASKS:
        on_begin(task)
        made = race(session, partial(request_for, session, task, predict), seconds=seconds)
        if made.interrupted:
            raise KeyboardInterrupt
        yield task, made
