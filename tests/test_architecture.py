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

GROUND = {"closing", "errors", "escapes", "events", "figures", "files", "generation"}
SETTINGS = {
    "drafting_settings",
    "native",
    "option_table",
    "option_values",
    "options",
    "speculative",
}
NATIVE = GROUND | {"gguf", "llama", "native", "sampling"}
MODELS = NATIVE | {"hub", "pairs"}
ENGINE = MODELS | {"drafters", "engine", "session", "speculative"}
WORK = ENGINE | {"batch", "bench", "doctor", "drafts"}
APP = WORK | SETTINGS | {"app", "inspection", "profiles"}
MAY_IMPORT: dict[str, set[str]] = {
    "closing": set(),
    "errors": set(),
    "escapes": set(),
    "figures": set(),
    "files": {"errors"},
    "events": {"errors", "figures"},
    "generation": {"errors", "events"},
    "native": {"errors"},
    "speculative": {"native"},
    "drafting_settings": {"errors", "native", "speculative"},
    "option_table": {"speculative"},
    "options": {"option_table"},
    "option_values": {"errors", "option_table"},
    "inspection": GROUND,
    "gguf": GROUND,
    "llama": GROUND | {"gguf", "native"},
    "sampling": NATIVE - {"sampling"} | {"option_table", "option_values"},
    "hub": GROUND | {"gguf"},
    "pairs": NATIVE,
    "config": GROUND | SETTINGS,
    "profiles": GROUND | SETTINGS | {"hub"},
    "drafters": NATIVE | {"speculative"},
    "engine": NATIVE | {"drafters", "speculative"},
    "session": ENGINE - {"session"},
    "drafts": ENGINE,
    "batch": NATIVE | {"engine", "option_table", "speculative"},
    "doctor": ENGINE | {"profiles"},
    "bench": ENGINE | {"doctor", "drafting_settings", "profiles"},
    "app": APP - {"app"},
    "api": APP - {"batch", "bench", "doctor", "drafts"},
    "__init__": {"api", "errors", "events", "speculative"},
    "server": APP - {"bench", "doctor", "drafts"} | {"api"},
    "cluster": APP - {"bench", "doctor", "drafts"},
    "ui": GROUND | {"inspection", "hub", "engine", "drafts", "pairs", "bench", "batch", "doctor"},
    "cli": APP | {"api", "cluster", "config", "server", "ui"},
    "__main__": {"cli"},
}
"""What each folder and file of the package may import, from the lowest to the highest."""

NOT_IN_CLI = {"drafters", "engine", "gguf", "llama", "pairs", "sampling", "session"}
"""What a command reaches through `app` only, but for the types of what it gets."""

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


def in_room(room: str) -> list[Path]:
    return [path for path in FILES if room_of(path) == room]


@pytest.mark.parametrize("path", in_room("cli"), ids=named)
def test_a_command_goes_through_the_app_layer(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    modules = {
        node.module.split(".")[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node not in types
        if node.module and node.module.startswith("specli.")
    }
    # Completion lists names that those rooms declare.
    assert path.name == "completion.py" or not modules & NOT_IN_CLI


@pytest.mark.parametrize("path", in_room("app"), ids=named)
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
