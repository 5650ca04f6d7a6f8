"""`specli run --compare`: one prompt with and without drafting, in turns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from specli.app.feedback import SILENT, Feedback
from specli.app.prepare import (
    constraint_of,
    loaded_session,
    prepared_setup,
    sampling_of,
    with_profile,
)
from specli.app.race import OnEvent, Race, race
from specli.app.run import request_of
from specli.errors import UsageError
from specli.llama import library
from specli.options import Options


def side_by_side(
    options: Options,
    prompt: str,
    feedback: Feedback = SILENT,
    open_view: Callable[[], AbstractContextManager[OnEvent]] = lambda: nullcontext(
        lambda _side, _event, _stats: None
    ),
) -> Race:
    """Answer a prompt twice under a view, which is opened once the models are loaded.

    Raises the errors of specli.errors, and UsageError where nothing would be drafted.
    """
    library.show_log(options.verbose)
    options, profile = with_profile(options)
    constraint, sampling = constraint_of(options), sampling_of(options)
    setup = replace(prepared_setup(options, profile, feedback, slots=2), steady=True)
    if not setup.speculative.drafters:
        raise UsageError(
            "nothing is drafted with these settings, so there is nothing to compare",
            hint="leave --draft 0, --no-draft or --spec-type none out",
        )
    with loaded_session(setup, feedback) as session, open_view() as on_event:
        made = race(
            session,
            lambda: request_of(session, options, prompt, sampling, constraint),
            on_event,
        )
    for one in (made.plain, made.drafted):
        if one.error is not None:
            raise one.error
    return made
