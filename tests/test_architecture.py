"""Imports point one way, and the native library has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import specli

ROOT = Path(specli.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

GROUND = {"errors", "events"}
ASKED = GROUND | {"options"}
NATIVE = GROUND | {"gguf", "llama", "sampling"}
PAIR = {"hub", "pairs", "profiles"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "options": {"errors", "speculative"},
    "speculative": {"errors"},
    "events": set(),
    "gguf": GROUND,
    "llama": GROUND | {"gguf"},
    "sampling": GROUND | {"gguf", "llama"},
    "drafters": NATIVE | {"speculative"},
    "engine": NATIVE | {"drafters", "speculative"},
    "hub": GROUND | {"gguf"},
    "pairs": NATIVE,
    "profiles": ASKED | {"hub"},
    "session": NATIVE | {"drafters", "engine", "hub", "pairs", "speculative"},
    "making": NATIVE | {"engine", "hub", "pairs", "session", "speculative"},
    "batch": NATIVE | {"engine"},
    "ui": GROUND | {"hub", "engine", "making", "pairs", "bench", "batch", "doctor"},
    "doctor": NATIVE | PAIR | {"drafters", "engine", "session", "speculative"},
    "bench": NATIVE | PAIR | {"doctor", "drafters", "engine", "session", "speculative"},
    "cli": NATIVE
    | ASKED
    | PAIR
    | {"drafters", "engine", "session", "speculative", "making", "ui", "bench", "batch", "doctor"},
}
"""What each folder and file of the package may import."""

SLOW = ["llama_cpp", "huggingface_hub", "numpy", "pydantic"]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    parts = (name.split(".") for name in imported(path))
    named = {name[1] for name in parts if name[0] == "specli" and len(name) > 1}
    return named - {"__version__"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_room_is_part_of_a_circle() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    assert rooms_imported(path) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_the_llama_package_imports_llama_cpp(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    assert room_of(path) == "llama" or "llama_cpp" not in tops


def test_help_loads_nothing_slow() -> None:
    code = (
        "import sys\n"
        "from specli.cli.main import app\n"
        "try:\n"
        "    app(['--help'], prog_name='specli')\n"
        "except SystemExit:\n"
        "    pass\n"
        f"loaded = [name for name in {SLOW!r} if name in sys.modules]\n"
        "print('loaded:', *loaded)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: specli" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"
