"""Writes docs/man from the same pages as --help-all; `python scripts/cli_docs.py` calls it."""

from __future__ import annotations

from collections.abc import Iterator

from specli.cli.help_page import Page, Row


def manual(path: str, page: Page, related: list[str]) -> str:
    """The source of `man NAME` for a command: man(7), with ASCII alone."""
    name = path.replace(" ", "-")
    summary, _, more = (page.about[0] if page.about else "").partition(". ")
    lines = [f'.TH "{_text(name.upper())}" 1 "" "specli" "specli"']
    lines += [".SH NAME", f"{_text(name)} \\- {_text(summary.rstrip('.'))}"]
    lines += [".SH SYNOPSIS", f".B {_text(page.usage)}"]
    described = [one for one in (more, *page.about[1:]) if one]
    if described:
        lines.append(".SH DESCRIPTION")
        lines += ["\n.PP\n".join(_line(one) for one in described)]
    if page.examples:
        lines += [".SH EXAMPLES", ".nf", *map(_line, page.examples), ".fi"]
    for title, rows in page.sections.items():
        lines += [f".SH {_text(title.upper())}", *(line for row in rows for line in _row(row))]
    if page.epilog:
        lines += [".SH EXIT STATUS", _line(page.epilog.removeprefix("Exit codes: "))]
    if related:
        others = [f".BR {_text(one.replace(' ', '-'))} (1)" for one in related]
        lines += [".SH SEE ALSO", *(f"{one} ," for one in others[:-1]), others[-1]]
    return "\n".join(lines) + "\n"


def _row(row: Row) -> Iterator[str]:
    """An option in bold with its value in italics, and below it what it does."""
    *spellings, last = row.name.split(", ") if row.name.startswith("-") else [row.name]
    flag, _, value = last.partition(" ")
    bold = ", ".join(f"\\fB{_text(one)}\\fR" for one in (*spellings, flag))
    yield ".TP"
    yield f"{bold} \\fI{_text(value)}\\fR" if value else bold
    yield _line(row.help)


def _line(text: str) -> str:
    """A line of text that is none of a request."""
    escaped = _text(text)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _text(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "".join(one if ord(one) < 128 else f"\\[u{ord(one):04X}]" for one in escaped)
