"""`specli serve`: models loaded once, and a server on them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace

from specli.api.sampling import SamplingParams
from specli.api.thread import EngineThread
from specli.app.feedback import Feedback
from specli.app.prepare import loaded_session, prepared_setup, with_profile
from specli.errors import UsageError
from specli.llama import library
from specli.option_table import AUTO
from specli.options import Options
from specli.server.asking import Served
from specli.server.context import Context
from specli.server.run import bound, listen
from specli.server.service import Service
from specli.server.settings import Settings
from specli.session import Session, Setup
from specli.speculative import (
    Adaptive,
    Grammar,
    NgramCache,
    Prediction,
    SpeculativeConfig,
    Suffix,
)


@dataclass(frozen=True, slots=True)
class Ready:
    """What listens where, once requests are taken."""

    url: str
    model: str
    slots: int
    n_ctx: int
    drafters: tuple[str, ...]


def serve(
    options: Options, settings: Settings, feedback: Feedback, ready: Callable[[Ready], None]
) -> None:
    """Serve until the process is told to end.

    Raises UsageError, also for an address that cannot be listened on, and what loading the models
    raises.
    """
    library.show_log(options.verbose)
    options, profile = with_profile(options)
    defaults = SamplingParams.of_options(options)
    with bound(settings.host, settings.port) as listener:

        def load() -> Session:
            setup = prepared_setup(options, profile, feedback, slots=settings.slots)
            config = drafting_of(setup, share=settings.share_suffix)
            setup = replace(setup, speculative=config)
            return loaded_session(setup, Feedback(feedback.note))

        with closing(EngineThread(load)) as thread:
            context = context_of(thread, settings, options, defaults)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            told = Ready(
                f"http://{shown}:{port}",
                context.served.name,
                context.service.slots,
                context.served.n_ctx,
                tuple(one.name for one in context.served.drafters),
            )
            listen(context, listener, lambda: ready(told))


def context_of(
    thread: EngineThread,
    settings: Settings,
    options: Options,
    defaults: SamplingParams,
) -> Context:
    """What the handlers need, on a thread that has loaded its models."""
    service = Service(thread, settings)
    session = service.session
    served = Served(
        model=session.target_model,
        name=settings.alias or session.setup.target.stem,
        n_ctx=session.n_ctx,
        defaults=replace(defaults, seed=None),
        seed=defaults.seed,
        system=options.system or "",
        reasoning=options.reasoning_format or AUTO,
        drafters=session.setup.speculative.drafters,
    )
    return Context(service, served)


def drafting_of(setup: Setup, *, share: bool) -> SpeculativeConfig:
    """The drafters of a server: predictions of requests too, and nothing of other users."""
    config = setup.speculative
    if not share and config.has(NgramCache.kind):
        raise UsageError(
            "a lookup cache drafts for every user from the answers of all",
            hint="allow it with --share-suffix, or leave the lookup cache out",
        )
    if config.drafters:
        own = [Prediction("")] + [Grammar()] * isinstance(config.policy, Adaptive)
        missing = [one for one in own if not config.has(one.kind)]
        config = config.with_drafters((*config.drafters, *missing))
    return config.with_drafters(
        replace(one, shared=share) if isinstance(one, Suffix) else one for one in config.drafters
    )
