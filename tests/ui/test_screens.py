"""Whole screens at three widths, as people see them.

`python -m tests.ui.test_screens` writes the captures anew; read the changes before you keep them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from specli.cli.help_page import Shown, page_of, text_of
from specli.cli.main import app
from specli.doctor.paths import DiskUse
from specli.doctor.problems import find_problems
from specli.doctor.report import Build, DoctorReport, PairLimits
from specli.doctor.roofline import Limits, roofline
from specli.engine.policy.cost import CostModel, Curve
from specli.hub.remote import read_model_header
from specli.inspection import InspectedRound, InspectedToken
from specli.pairs.check import CheckOptions, check_pair, examine
from specli.pairs.sizing import MemoryNeed
from specli.ui.bench import report_view
from specli.ui.doctor import doctor_view
from specli.ui.inspection import inspection
from specli.ui.legend import legend
from specli.ui.pairs import rules_table
from specli.ui.race import race_summary, race_table
from specli.ui.status import status_rows
from specli.ui.summary import summary_table
from tests import tiny_gguf as tiny
from tests.bench.made_report import made_report
from tests.doctor.made import cores, machine, rates
from tests.ui.made import drafted_stats, prompt_read
from tests.ui.test_summary import measured_stats

FOLDER = Path(__file__).parent / "screens"
WIDTHS = (120, 80, 40)


def run_screen(width: int) -> RenderableType:
    """The status while it runs, the figures after it, and the legend."""
    status = status_rows(drafted_stats(), prompt_read(), width)
    return Group(*status, summary_table(measured_stats(20.0, 30.0)), Text(), legend())


def check_screen(_width: int) -> RenderableType:
    """The rules of a pair with another token text; no figure of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        other = tiny.bpe_vocabulary().with_token(139, b"other")
        target = tiny.write(Path(folder) / "target.gguf", tiny.llama_bytes())
        draft = tiny.write(Path(folder) / "draft.gguf", tiny.llama_bytes(other))
        one, two = (examine(read_model_header(str(path))) for path in (target, draft))
    return rules_table(check_pair(one, two, CheckOptions(context=200)))


def bench_screen(width: int) -> RenderableType:
    return report_view(made_report(), width)


def demo_screen(width: int) -> RenderableType:
    rows = [
        ("a question", 40.0, 44.0, 1.1),
        ("a function to rewrite", 40.0, 84.0, 2.1),
        ("a list", 40.0, 38.0, 0.95),
    ]
    plain, drafted = measured_stats(20.0, 30.0), measured_stats(20.0, 10.0)
    return Group(race_table(rows, width), race_summary(plain, drafted, 1.7))


def inspect_screen(_width: int) -> RenderableType:
    def token(text: str, source: str, confidence: float | None, rank: int) -> InspectedToken:
        return InspectedToken(
            id=7, text=text, source=source, confidence=confidence, rank=rank, probability=0.5 / rank
        )

    first = InspectedRound(
        draft_ms=4.0,
        verify_ms=20.0,
        tokens=[token(" blue", "draft", 0.91, 1), token(" because", "target", None, 1)],
        rejected=[token(" since", "draft", 0.55, 3)],
    )
    second = InspectedRound(
        draft_ms=0.0, verify_ms=12.0, tokens=[token("\n\x1b[31m", "target", None, 2)]
    )
    return inspection([first, second])


def doctor_screen(_width: int) -> RenderableType:
    """A busy machine with a pair whose costs are known."""

    def model(name: str, weights: int, ms: float) -> Limits:
        return Limits(name, "Q4_K", weights, 1 << 20, ms, ms / 30)

    costs = CostModel(Curve([1, 4], [110.0, 180.0]), {"draft": Curve([1, 2], [12.0, 20.0])})
    line = roofline(
        model("target", 2 << 30, 100.0), model("draft", 200 << 20, 10.0), costs, busy=True
    )
    busy = machine(of_cores=cores(load=9.5))
    need = MemoryNeed(2 << 30, 128 << 20, 64 << 20)
    pair = PairLimits(Path("target.gguf"), Path("draft.gguf"), line, (need, need), 4096)
    return doctor_view(
        DoctorReport(
            build=Build("1.2.3", "llama.cpp b1", ("CPU",), {"CPU": "AVX2 FMA"}, (), False),
            machine=busy,
            rates=rates(),
            pair=pair,
            paths=(DiskUse("whole cache", Path("/home/me/.cache/specli"), 5 << 20),),
            variables={"HF_TOKEN": "set"},
            problems=tuple(find_problems(("CPU",), {"CPU": "AVX2 FMA"}, False, busy)),
        )
    )


SCREENS = {
    "run": run_screen,
    "check": check_screen,
    "bench": bench_screen,
    "demo": demo_screen,
    "inspect": inspect_screen,
    "doctor": doctor_screen,
}


def screen(name: str, width: int) -> str:
    if name == "help":
        return help_screen(width)
    console = Console(width=width, no_color=True, force_terminal=False, markup=False)
    with console.capture() as capture:
        console.print(SCREENS[name](width))
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def help_screen(width: int) -> str:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    command = group.commands["demo"]
    assert isinstance(command, Shown)
    parent = typer.Context(group, info_name="specli")
    context = typer.Context(command, info_name="demo", parent=parent, **command.context_settings)
    return text_of(page_of(command, context, everything=False), width)


NAMES = [*SCREENS, "help"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_screen_is_what_it_was(name: str, width: int) -> None:
    expected = (FOLDER / f"{name}-{width}.txt").read_text(encoding="utf-8")
    assert screen(name, width) == expected
    assert "\x1b" not in expected
    assert max(map(len, expected.splitlines())) <= width


if __name__ == "__main__":
    for each in NAMES:
        for columns in WIDTHS:
            path = FOLDER / f"{each}-{columns}.txt"
            path.write_text(screen(each, columns), encoding="utf-8")
