"""`specli doctor`: what this machine can do, and the speed-up it allows."""

from __future__ import annotations

from specli.cli.output import Sink
from specli.cli.parameters import takes
from specli.options import Options


@takes("profile", "model", "model_draft", "rpc", "rpc_insecure", "json")
def doctor(*, options: Options) -> None:
    """Show build, cores, memory and speed of this machine, and the speed-up they allow.

    Measures memory and arithmetic for about two seconds. Downloads nothing.
    """
    import specli
    from specli.app.doctor import setup_to_examine
    from specli.doctor.report import examine
    from specli.ui.doctor import doctor_view

    report = examine(specli.__version__, setup_to_examine(options))
    sink = Sink.of(options)
    sink.data(report.as_dict())
    sink.show(doctor_view(report))
