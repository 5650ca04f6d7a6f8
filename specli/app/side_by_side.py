"""`specli run --compare`: one prompt with and without drafting, in turns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from specli.app.feedback import SILENT, Feedback
from specli.app.prepare import loaded_session, planned
from specli.app.race import OnEvent, Race, race
from specli.app.run import request_of
from specli.errors import UsageError
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
    plan = planned(options, feedback, slots=2, steady=True)
    if not plan.setup.speculative.drafters:
        raise UsageError(
            "nothing is drafted with these settings, so there is nothing to compare",
            hint="leave `draft_max` 0, `no_draft` or `spec_type` none out",
        )
    with loaded_session(plan.setup, feedback) as session, open_view() as on_event:
        made = race(session, lambda: request_of(session, plan, prompt), on_event)
    for one in (made.plain, made.drafted):
        if one.error is not None:
            raise one.error
    return made
