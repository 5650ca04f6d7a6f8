"""What `specli doctor` found, in sections that fit a narrow terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from specli.doctor.machine import Machine
from specli.doctor.measure import Rates
from specli.doctor.problems import Problem
from specli.doctor.report import Build, DoctorReport, PairLimits
from specli.doctor.roofline import PAST, Ceiling, Limits, Roofline
from specli.figures import counted, short_bytes

Row = tuple[str, str, str]
"""Name, figure, and one sentence about what it means, or nothing."""

_POINTS_A_ROW = 4
_NO_PAIR: Row = (
    "pair",
    "not on this machine yet",
    "specli run fetches the embedded pair; -m and -md select another",
)


def doctor_view(report: DoctorReport) -> RenderableType:
    """The verdict and what is in the way, then what decided it."""
    sections: dict[str, list[Row]] = {
        "llama.cpp": _build_rows(report.build),
        "Processor and memory": _machine_rows(report.machine, report.build),
        "Measured now": _rate_rows(report.rates, report.machine),
    }
    if report.pair is None:
        sections["Speed-up"] = [_NO_PAIR]
    else:
        line = report.pair.roofline
        sections["Pair"] = _limit_rows(report.pair, report)
        sections["Measured costs"] = _measured_rows(line)
        sections["Upper bounds of the speed-up"] = _ceiling_rows(line)
    sections["Files"] = [
        (use.name, "does not exist" if use.bytes is None else short_bytes(use.bytes), str(use.path))
        for use in report.paths
    ]
    sections["Environment"] = [(n, v or "empty", "") for n, v in report.variables.items()]
    shown = [_section(title, rows) for title, rows in sections.items() if rows]
    return Group(_verdict(report), _problems(report.problems), Text(), *shown)


def _verdict(report: DoctorReport) -> Text:
    """Whether drafting can pay, by the figures below."""
    line = None if report.pair is None else report.pair.roofline
    if line is None:
        return Text("The pair is not on this machine yet: specli run fetches it.", "bold")
    best = line.measured if line.draft is None else line.measured_with_draft
    if line.disturbed:
        said = "No verdict: other programs disturbed what was measured of this pair."
    elif best is None:
        said = "Not measured yet: specli run measures what this pair costs here."
    elif best.tokens == 1:
        said = "Drafting cannot pay with this pair on this machine."
    else:
        said = (
            f"Drafting can pay here: up to {best.speedup:.2f}× the speed of plain decoding, "
            "if every drafted token is accepted."
        )
    return Text(said, "bold")


def _section(title: str, rows: list[Row]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=24)
    table.add_column(overflow="fold")
    for name, figure, meaning in rows:
        text = Text(figure)
        if meaning:
            text.append(f"\n{meaning}", "dim")
        table.add_row(Text(f"  {name}"), text)
    return Group(Text(title, "bold"), table, Text())


def _build_rows(build: Build) -> list[Row]:
    rows = [("versions", f"specli {build.specli}, {build.llama}", "")]
    rows += [(f"built for {name}", build.features.get(name, "yes"), "") for name in build.backends]
    for device in build.devices:
        # The CPU's memory is the machine's, shown below.
        memory = f", {_free(device.free, device.total)}" if device.is_gpu else ""
        where = "RPC server " if device.is_remote else ""
        rows.append((f"device {device.name}", f"{where}{device.description}{memory}", ""))
    return rows


def _free(free: int, total: int) -> str:
    return f"{short_bytes(free)} of {short_bytes(total)} free"


def _machine_rows(machine: Machine, build: Build) -> list[Row]:
    cores = machine.cores
    counts = f"{cores.physical} physical, {cores.logical} logical, {cores.allowed} usable"
    if cores.quota is not None:
        counts += f", CPU time limited to {cores.quota:.3g}"
    load = "unknown on this system" if cores.load is None else f"{cores.load:.2f}"
    if cores.busy:
        load += ", busy: timings are unreliable right now"
    cache = [] if machine.cache is None else [("largest cache", short_bytes(machine.cache), "")]
    gpus = ", ".join(machine.gpus) or "none found"
    used = ", ".join(device.name for device in build.devices if device.is_gpu)
    return [
        ("system", machine.system, ""),
        ("processor", machine.cpu, ""),
        ("instructions", " ".join(machine.instructions) or "unknown on this system", ""),
        ("cores", counts, ""),
        ("threads", f"{cores.threads} by default (-t)", "one per usable physical core"),
        ("load average (1 min)", load, ""),
        *cache,
        ("memory", _free(machine.memory_free, machine.memory), ""),
        ("GPU", f"{gpus}; {f'layers can go to {used}' if used else 'not used'}", ""),
    ]


def _rate_rows(rates: Rates, machine: Machine) -> list[Row]:
    meaning = (
        "bounds plain decoding on the processor, which reads all weights for every token; "
        f"{short_bytes(rates.read_size)} read by {counted(rates.read_threads, 'thread')}, "
        f"best of {rates.read_repeats}"
    )
    if machine.cache is not None and rates.read_size < 2 * machine.cache:
        meaning += "; the processor's cache may have raised it"
    return [
        ("memory read", f"{rates.read_bytes_per_second / 1e9:.1f} GB/s", meaning),
        (
            "arithmetic",
            f"{rates.flops_per_second / 1e9:.0f} GFLOP/s",
            "bounds the verification of many tokens; F32 matrix products in NumPy, which "
            "llama.cpp's integer kernels for quantised weights can exceed",
        ),
    ]


def _limit_rows(pair: PairLimits, report: DoctorReport) -> list[Row]:
    line = pair.roofline
    rows = [_model_row("target", pair.target, line.target)]
    if line.draft is not None and pair.draft is not None:
        rows.append(_model_row("draft", pair.draft, line.draft))
    where = " on the processor" if report.build.gpu_offload else ""
    least_ms = line.target.memory_ms
    total = sum(need.total for need in pair.needs)
    return [
        *rows,
        (
            "memory limit of T(1)",
            f"{least_ms:.1f} ms, {1000 / least_ms:.1f} tok/s{where}",
            "the least time of a token in plain decoding, unless a cache holds the weights",
        ),
        (
            "arithmetic limit",
            f"{line.target.compute_ms:.2f} ms per verified token",
            "T(k), the time for k tokens in one decode, is at least k times this",
        ),
        ("memory needed", f"{short_bytes(total)} at {pair.context} tokens", ""),
    ]


def _model_row(role: str, path: Path, limits: Limits) -> Row:
    weights, cache = short_bytes(limits.weight_bytes), short_bytes(limits.cache_bytes)
    read = f"reads {weights} of weights per token, and {cache} of cache after {PAST} tokens"
    return (role, f"{path.name}, {limits.quantisation}", read)


def _measured_rows(line: Roofline) -> list[Row]:
    if line.target_ms is None:
        return []
    points = [f"{k}: {ms:.1f}" for k, ms in line.target_ms.items()]
    # Rows of a few points, so that no terminal separates a size from its time.
    starts = range(0, len(points), _POINTS_A_ROW)
    lines = ["  ".join(points[start : start + _POINTS_A_ROW]) for start in starts]
    meaning = "the target's time for k tokens in one decode"
    if 1 in line.target_ms:
        meaning += f"; {1000 / line.target_ms[1]:.1f} tok/s plain"
    rows = [("T(k), ms", "\n".join(lines), meaning)]
    if line.draft_token_ms is not None:
        rows.append(("draft, ms", f"{line.draft_token_ms:.1f} per drafted token", ""))
    return rows


def _ceiling_rows(line: Roofline) -> list[Row]:
    free = "every draft accepted and free"
    ceilings = (
        ("machine", line.possible, f"{free}, both limits reached by the target"),
        (
            "machine, with draft",
            line.possible_with_draft,
            "the same, with the draft model at its memory limit",
        ),
        ("measured", line.measured, f"{free}, by the measured T(k)"),
        (
            "measured, with draft",
            line.measured_with_draft,
            "the same, with the measured time of the draft model; real texts stay below",
        ),
    )
    rows = [(name, _ceiling(found), meaning) for name, found, meaning in ceilings if found]
    if line.disturbed:
        note = "T(1) is far above its memory limit, and the machine is busy"
        rows.append(("measured", "no verdict: the measurement was disturbed", note))
    elif line.measured is None:
        note = "specli run measures T(k) of this pair and stores it"
        rows.append(("measured", "not measured yet", note))
    return rows


def _ceiling(found: Ceiling) -> str:
    if found.tokens == 1:
        return "1.00×: drafting cannot pay"
    return f"{found.speedup:.2f}×, at {found.tokens} tokens per round"


def _problems(problems: tuple[Problem, ...]) -> RenderableType:
    if not problems:
        return Text("No problems found.", "green")
    table = Table.grid(padding=(0, 1))
    for problem in problems:
        text = Text(problem.sentence, overflow="fold")
        if problem.hint:
            text.append(f"\n{problem.hint}", "dim")
        table.add_row(Text("  !", "bold yellow"), text)
    return Group(Text(f"{counted(len(problems), 'problem')}:", "bold"), table)
