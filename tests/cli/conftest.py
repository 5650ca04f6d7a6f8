"""`specli` on tiny models, away from this machine's caches and settings."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub.constants  # noqa: F401
import pytest

from specli.cli.failures import run_app
from specli.cli.main import app
from tests import tiny_gguf as tiny

FOREIGN_TOKEN = 40
LONG_CONTEXT = 32768


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny models, sound and broken; what specli learns of them is kept there too."""
    folder = tmp_path_factory.mktemp("models")
    whole = tiny.llama_bytes()
    vocabulary = tiny.bpe_vocabulary().with_token(FOREIGN_TOKEN, b"foreign")
    contents = {
        "target": whole,
        "draft": tiny.llama_bytes(noise=0.1),
        "foreign": tiny.llama_bytes(vocabulary),
        "sentencepiece": tiny.llama_bytes(tiny.spm_vocabulary()),
        "long": tiny.llama_bytes(shape=tiny.Shape(layers=4, context=LONG_CONTEXT)),
        "empty": b"",
        "text": b"This is a recipe for pancakes.",
        "cut": whole[:-1000],
        "future": tiny.llama_bytes(architecture="llama99"),
    }
    for name, content in contents.items():
        tiny.write(folder / f"{name}.gguf", content)
    return folder


@pytest.fixture
def sealed(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and the models' folder as the place to work in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SPECLI_CACHE", str(models / "cache"))
    monkeypatch.setenv("SPECLI_DEBUG", "")
    # --offline sets these for its process, which is that of all tests here; the hub's library
    # reads its own when it is imported.
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.setenv("PIP_NO_INDEX", "")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    # Child processes must find this very package from the folder of the models.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2])]))
    monkeypatch.chdir(models)
    return models


Specli = Callable[..., Outcome]


@pytest.fixture
def specli(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Specli:
    """Runs the command in this process, whatever the native library prints included."""

    def specli(*arguments: str, stdin: bytes | None = None) -> Outcome:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run_app(app, list(arguments))
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return specli
