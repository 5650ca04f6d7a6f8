from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specli.errors import ModelFileError
from specli.gguf.check import check_file
from tests import tiny_gguf as tiny
from tests.tiny_gguf import Typed, Value

WHOLE = tiny.llama_bytes()


def refusal(path: Path) -> ModelFileError:
    with pytest.raises(ModelFileError) as caught:
        check_file(path)
    assert caught.value.hint
    return caught.value


def test_a_good_model_passes_with_its_header(tmp_path: Path) -> None:
    header = check_file(tiny.write(tmp_path / "model.gguf", WHOLE))
    assert header.architecture == "llama"
    assert header.model_integer("block_count") == 2
    assert header.file_size == header.expected_size == len(WHOLE)


def test_a_missing_file_a_directory_and_an_empty_file_are_named_as_such(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no.gguf").message
    tiny.write(tmp_path / "empty.gguf", b"")
    assert "is empty" in refusal(tmp_path / "empty.gguf").message
    found = refusal(tmp_path)
    assert "is a directory" in found.message
    assert found.hint is not None
    assert "empty.gguf" in found.hint


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{}", "safetensors"),
        (b"PK\x03\x04rest", "PyTorch checkpoint"),
        (b"tjgg\x03\x00\x00\x00", "older than GGUF"),
        (b'{"architectures": []}', "JSON"),
        (b"\x7fELF", "starts with"),
    ],
)
def test_a_file_of_another_kind_is_recognised(tmp_path: Path, start: bytes, words: str) -> None:
    assert words in refusal(tiny.write(tmp_path / "x.gguf", start)).message


def test_a_download_cut_short_is_told_with_both_sizes(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "model.gguf", WHOLE[:-1000])
    message = refusal(path).message
    assert f"{len(WHOLE) - 1000:,}" in message
    assert f"{len(WHOLE):,}" in message


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"general.architecture": ""}, "does not name its architecture"),
        ({"llama.block_count": 0}, "block_count is 0"),
        ({"llama.block_count": 513}, "block_count is 513"),
        ({"llama.nextn_predict_layers": 3}, "nextn_predict_layers is 3"),
        ({"llama.rope.scaling.type": "wild"}, "rope.scaling.type is 'wild'"),
        ({"llama.expert_count": 1025, "llama.expert_used_count": 2}, "expert_count is 1025"),
        ({"llama.expert_count": 4}, "expert_used_count is 0"),
        ({"llama.expert_count": 4, "llama.expert_used_count": 5}, "expert_used_count is 5"),
        ({"llama.expert_used_count": 1}, "expert_used_count is 1"),
        ({"llama.expert_group_count": 1}, "expert_group_count is 1"),
        ({"llama.attention.head_count_kv": 5}, "head_count_kv is 5"),
        ({"llama.attention.head_count_kv": [4, 8]}, "head_count_kv is 8"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "rms_epsilon is nan"),
        ({"llama.attention.layer_norm_rms_epsilon": -1.0}, "rms_epsilon is -1.0"),
        ({"llama.rope.dimension_count": 10}, "rope.dimension_count is 10"),
        ({"llama.rope.dimension_count": 7}, "rope.dimension_count is 7"),
        ({"tokenizer.ggml.model": "none"}, "has no tokenizer"),
        ({"tokenizer.ggml.model": "novel"}, "unknown kind 'novel'"),
        ({"tokenizer.ggml.model": 3}, "tokenizer.ggml.model is of type uint32, not string"),
        ({"tokenizer.ggml.tokens": Typed(tiny.ARRAY, (), tiny.STRING)}, "no token list"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "2 entries for 320 tokens"),
        ({"tokenizer.ggml.bos_token_id": Typed(tiny.I32, 1)}, "not uint32"),
        ({"tokenizer.ggml.add_bos_token": 1}, "not bool"),
    ],
)
def test_fields_that_llama_cpp_aborts_on_or_refuses_are_refused(
    tmp_path: Path, extra: dict[str, Value], words: str
) -> None:
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(extra=extra))
    assert words in refusal(path).message


def test_the_same_token_twice_is_refused_because_llama_cpp_aborts(tmp_path: Path) -> None:
    vocabulary = tiny.bpe_vocabulary().with_token(40, b"twin").with_token(50, b"twin")
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(vocabulary))
    assert "'twin' twice, as 40 and as 50" in refusal(path).message


def test_a_bos_that_is_wanted_but_not_there_is_refused(tmp_path: Path) -> None:
    vocabulary = replace(tiny.bpe_vocabulary(), pre="glm4", bos=None, add_bos=True)
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(vocabulary))
    assert "asks for a BOS token" in refusal(path).message


def test_byte_tokens_in_word_pieces_are_refused_because_llama_cpp_aborts(tmp_path: Path) -> None:
    vocabulary = replace(tiny.spm_vocabulary(), model="bert")
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(vocabulary))
    assert "byte tokens in a WordPiece tokenizer" in refusal(path).message


def test_a_sentencepiece_tokenizer_without_a_byte_is_refused(tmp_path: Path) -> None:
    vocabulary = tiny.spm_vocabulary().with_token(3 + 0x67, b"<1x67>")
    path = tiny.write(tmp_path / "model.gguf", tiny.llama_bytes(vocabulary))
    assert "no token for the byte 0x67" in refusal(path).message


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damage_anywhere_ends_in_a_header_or_one_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    broken = bytearray(WHOLE[: data.draw(st.integers(0, len(WHOLE)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if broken:
            broken[data.draw(st.integers(0, min(len(broken), 12_000) - 1))] ^= 1 << data.draw(
                st.integers(0, 7)
            )
    path = tiny.write(tmp_path / "model.gguf", bytes(broken))
    try:
        check_file(path)
    except ModelFileError as error:
        assert "\n" not in error.message  # noqa: PT017 - most damage is refused, some is harmless


class TestSplitModels:
    def parts(self, directory: Path, count: int = 3) -> list[Path]:
        paths = []
        for index in range(count):
            fields: dict[str, Value] = {
                "split.no": Typed(tiny.U16, index),
                "split.count": Typed(tiny.U16, count),
                "split.tensors.count": Typed(tiny.I32, count),
            }
            if index == 0:
                fields |= {"general.architecture": "llama", **tiny.bpe_vocabulary().fields()}
            content = tiny.gguf_bytes(fields, {f"t{index}": np.ones(8, np.float32)})
            name = f"model-{index + 1:05d}-of-{count:05d}.gguf"
            paths.append(tiny.write(directory / name, content))
        return paths

    def test_the_first_part_stands_for_the_whole(self, tmp_path: Path) -> None:
        parts = self.parts(tmp_path)
        header = check_file(parts[0])
        assert list(header.tensors) == ["t0", "t1", "t2"]
        assert header.file_size == sum(part.stat().st_size for part in parts)

    def test_a_missing_part_is_named(self, tmp_path: Path) -> None:
        parts = self.parts(tmp_path)
        parts[1].unlink()
        message = refusal(parts[0]).message
        assert "part 2 of 3" in message
        assert parts[1].name in message

    def test_a_later_part_points_to_the_first(self, tmp_path: Path) -> None:
        parts = self.parts(tmp_path)
        found = refusal(parts[2])
        assert "part 3 of 3" in found.message
        assert found.hint is not None
        assert parts[0].name in found.hint

    def test_a_later_part_cut_short_is_found(self, tmp_path: Path) -> None:
        parts = self.parts(tmp_path)
        parts[2].write_bytes(parts[2].read_bytes()[:-8])
        message = refusal(parts[0]).message
        assert parts[2].name in message
        assert "cut short" in message

    def test_a_part_in_the_place_of_another_is_found(self, tmp_path: Path) -> None:
        parts = self.parts(tmp_path)
        parts[1].write_bytes(parts[2].read_bytes())
        assert "is marked as part 3, not 2" in refusal(parts[0]).message

    def test_a_renamed_first_part_is_told_what_name_it_needs(self, tmp_path: Path) -> None:
        parts = self.parts(tmp_path)
        renamed = parts[0].rename(tmp_path / "model.gguf")
        assert "-00001-of-00003.gguf" in refusal(renamed).message
