"""Sizes of folders, and variables without their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.doctor.paths import IS_SET, SECRET, bytes_below, disk_use, relevant_variables
from tests.doctor.made import files


def test_a_folder_has_the_size_of_its_files(tmp_path: Path) -> None:
    files(tmp_path, {"cache/a": "x" * 10, "cache/deep/b": "y" * 5})
    assert bytes_below(tmp_path / "cache") == 15
    assert bytes_below(tmp_path / "cache/a") == 10
    assert bytes_below(tmp_path / "none") is None


def test_the_targets_of_links_are_not_counted_twice(tmp_path: Path) -> None:
    files(tmp_path, {"cache/blob": "x" * 1000})
    (tmp_path / "cache/link").symlink_to(tmp_path / "cache/blob")
    size = bytes_below(tmp_path / "cache")
    assert size is not None
    assert 1000 <= size < 1300


@given(st.sampled_from(SECRET), st.text(min_size=1).filter(lambda text: text != IS_SET))
def test_no_secret_is_ever_shown(name: str, secret: str) -> None:
    assert relevant_variables({name: secret, "UNRELATED": "1"}) == {name: IS_SET}


def test_variables_with_an_effect_are_shown_with_their_values() -> None:
    given = {"OMP_NUM_THREADS": "3", "GGML_CUDA_FORCE_MMQ": "1", "HF_TOKEN": "", "PATH": "/bin"}
    assert relevant_variables(given) == {"OMP_NUM_THREADS": "3", "GGML_CUDA_FORCE_MMQ": "1"}


@pytest.mark.usefixtures("own_home")
def test_paths_are_those_in_use(own_cache: Path) -> None:
    files(own_cache, {"made/model.gguf": "x" * 100, "hashes/h": "y"})
    found = {use.name: use for use in disk_use()}
    assert found["whole cache"].path == own_cache
    assert found["whole cache"].bytes == 101
    assert found["models made here"].bytes == 100
    assert found["Hugging Face token"].bytes is None
