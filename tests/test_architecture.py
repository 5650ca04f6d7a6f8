"""Imports point one way, and the native library has one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import specli

ROOT = Path(specli.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

GROUND = {"errors", "escapes", "events", "files", "generation"}
ASKED = GROUND | {"options"}
NATIVE = GROUND | {"gguf", "llama", "native", "sampling"}
PAIR = {"hub", "pairs", "profiles"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"api", "errors", "events", "speculative"},
    "__main__": {"cli"},
    "errors": set(),
    "escapes": set(),
    "files": {"errors"},
    "options": {"errors", "speculative"},
    "native": {"errors"},
    "speculative": {"errors", "native"},
    "events": {"errors"},
    "generation": {"errors", "events"},
    "inspection": GROUND,
    "gguf": GROUND,
    "llama": GROUND | {"gguf", "native"},
    "sampling": ASKED | {"gguf", "llama"},
    "drafters": NATIVE | {"speculative"},
    "engine": NATIVE | {"drafters", "speculative"},
    "hub": GROUND | {"gguf"},
    "pairs": NATIVE,
    "config": ASKED,
    "profiles": ASKED | {"hub"},
    "session": NATIVE | {"drafters", "engine", "hub", "pairs", "speculative"},
    "drafts": NATIVE | {"engine", "hub", "pairs", "session", "speculative"},
    "batch": NATIVE | {"engine", "options"},
    "ui": GROUND | {"inspection", "hub", "engine", "drafts", "pairs", "bench", "batch", "doctor"},
    "doctor": NATIVE | PAIR | {"drafters", "engine", "session", "speculative"},
    "bench": NATIVE | PAIR | {"doctor", "drafters", "engine", "session", "speculative"},
    "app": NATIVE
    | PAIR
    | ASKED
    | {"drafters", "engine", "session", "speculative", "drafts", "bench", "batch", "doctor"}
    | {"inspection"},
    "api": NATIVE | PAIR | ASKED | {"app", "engine", "session", "speculative"},
    "server": NATIVE | PAIR | ASKED | {"api", "app", "batch", "engine", "session", "speculative"},
    "cluster": NATIVE | PAIR | ASKED | {"app", "batch", "engine", "session", "speculative"},
    "cli": NATIVE
    | PAIR
    | ASKED
    | {"config"}
    | {"engine", "session", "speculative", "drafts", "ui", "bench", "batch", "doctor", "app"}
    | {"api", "cluster", "server", "inspection"},
}
"""What each folder and file of the package may import."""

SLOW = ["llama_cpp", "huggingface_hub", "numpy", "pydantic", "fastapi"]


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


def test_no_module_is_part_of_a_circle() -> None:
    modules = {module_of(path): path for path in FILES}
    imports = {
        module: {owner for name in imported(path) if (owner := owner_of(name, modules)) != module}
        for module, path in modules.items()
    }
    imports = {module: owners - {None, "specli"} for module, owners in imports.items()}
    TopologicalSorter(imports).prepare()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def owner_of(name: str, modules: Mapping[str, Path]) -> str | None:
    """The module that a dotted name is, or is a part of."""
    return (
        name
        if name in modules
        else next((owner for owner in [name.rpartition(".")[0]] if owner in modules), None)
    )


APP = [path for path in FILES if room_of(path) == "app"]


@pytest.mark.parametrize("path", APP, ids=named)
def test_the_app_layer_has_no_terminal(path: Path) -> None:
    tops = {".".join(name.split(".")[:2]) for name in imported(path)}
    assert not {top for top in tops if top.split(".")[0] in ("rich", "typer")}
    assert not tops & {"specli.cli", "specli.ui", "sys.stdout", "sys.stderr"}
    called = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"print", "input"}


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_terminal_has_one_door_in_cli(path: Path) -> None:
    doors = {"output.py", "help_page.py", "main.py"}
    if room_of(path) == "cli" and path.name not in doors:
        text = path.read_text(encoding="utf-8")
        assert "typer.echo" not in text
        assert "Console(" not in text
        assert "print(" not in text.replace("terminal.print(", "")


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
