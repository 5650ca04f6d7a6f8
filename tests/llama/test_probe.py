"""Broken files end in an error of ours, whatever llama.cpp does with them."""

from __future__ import annotations

import errno
import signal
import subprocess
from pathlib import Path

import pytest

from specli.errors import LoadError, ModelFileError
from specli.llama import library
from specli.llama.model import Model, ModelOptions
from specli.llama.probe import Probe, probe, tried
from specli.llama.quantize import quantize
from tests import tiny_gguf


def test_a_sound_file_passes_and_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf.write(tmp_path / "sound.gguf", tiny_gguf.llama_bytes())
    assert probe(path, tmp_path / "records").repacked
    monkeypatch.setattr("subprocess.run", lambda *_a, **_k: pytest.fail("tried again"))
    assert probe(path, tmp_path / "records").repacked


def test_a_file_that_changes_is_tried_again(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", tiny_gguf.llama_bytes())
    probe(path, tmp_path / "records")
    tiny_gguf.write(path, tiny_gguf.llama_bytes()[:-64])
    with pytest.raises(ModelFileError):
        probe(path, tmp_path / "records")


Results = dict[bool, list[str]]
"""What the child does when tried with repacked weights (False) and without (True), in order."""


def act(monkeypatch: pytest.MonkeyPatch, results: Results) -> None:
    def run(command: list[str], **_options: object) -> subprocess.CompletedProcess[bytes]:
        outcome = results[command[-1] == "plain"].pop(0)
        if outcome == "timeout":
            raise subprocess.TimeoutExpired(command, 60)
        code = -signal.SIGSEGV if outcome == "crash" else 0
        return subprocess.CompletedProcess(command, code, b"", b"")

    monkeypatch.setattr("subprocess.run", run)


def test_a_timeout_followed_by_success_is_not_recorded_as_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf.write(tmp_path / "slow.gguf", tiny_gguf.llama_bytes())
    act(monkeypatch, {False: ["timeout", "pass"], True: ["pass"]})
    assert probe(path, tmp_path / "records").repacked
    assert tried(path, tmp_path / "records") == Probe(repacked=True)


def test_two_timeouts_are_an_error_that_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf.write(tmp_path / "slow.gguf", tiny_gguf.llama_bytes())
    act(monkeypatch, {False: ["timeout", "timeout"], True: ["pass"]})
    with pytest.raises(ModelFileError, match="two attempts") as caught:
        probe(path, tmp_path / "records")
    assert "disk" in (caught.value.hint or "")
    assert tried(path, tmp_path / "records") is None


@pytest.mark.parametrize("first", [[], ["timeout"]])
def test_weights_that_crash_only_when_repacked_are_recorded_so(
    first: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf.write(tmp_path / "amx.gguf", tiny_gguf.llama_bytes())
    act(monkeypatch, {False: [*first, "crash"], True: ["pass"]})
    assert not probe(path, tmp_path / "records").repacked
    assert tried(path, tmp_path / "records") == Probe(repacked=False)


def test_records_that_cannot_be_written_cost_one_note(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.write_text("a file where a folder is needed")
    first, second = (
        tiny_gguf.write(tmp_path / name, tiny_gguf.llama_bytes()) for name in ("a.gguf", "b.gguf")
    )
    found = probe(first, folder / "probes")
    assert found.repacked
    assert found.note is not None
    assert str(folder / "probes") in found.note
    assert "SPECLI_CACHE" in found.note
    assert probe(second, folder / "probes").note is None


def test_a_full_disk_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", tiny_gguf.llama_bytes())

    def full(_self: Path, _target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert "No space left" in (probe(path, tmp_path / "records").note or "")
    assert list((tmp_path / "records").iterdir()) == []


def test_a_file_that_would_end_the_process_ends_only_the_child(tmp_path: Path) -> None:
    # No attention heads: llama.cpp divides by their number.
    crash = tiny_gguf.llama_bytes(extra={"llama.attention.head_count": 0})
    path = tiny_gguf.write(tmp_path / "crash.gguf", crash)
    with pytest.raises(ModelFileError, match=r"cannot use .*crash\.gguf"):
        probe(path, tmp_path / "records")


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "future.gguf", tiny_gguf.llama_bytes(architecture="llama99"))
    with pytest.raises(ModelFileError, match="llama99"):
        probe(path, tmp_path / "records")


def test_a_failed_load_quotes_llama_cpp(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", tiny_gguf.llama_bytes(architecture="llama99"))
    with pytest.raises(LoadError, match=r"could not load .*unknown model architecture: 'llama99'"):
        Model(path)


def test_the_log_is_kept_from_the_screen_unless_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", tiny_gguf.llama_bytes())
    library.show_log(False)
    Model(path).close()
    assert capfd.readouterr().err == ""
    library.show_log(True)
    try:
        Model(path).close()
    finally:
        library.show_log(False)
    assert "llama_model_loader" in capfd.readouterr().err


def test_devices_name_the_cpu_with_its_memory() -> None:
    cpu = next(device for device in library.devices() if device.kind == "cpu")
    assert cpu.total > 0


def test_a_device_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    from specli.errors import UsageError

    path = tiny_gguf.write(tmp_path / "model.gguf", tiny_gguf.llama_bytes())
    with pytest.raises(UsageError, match="no such device: 'CUDA7'"):
        Model(path, ModelOptions(devices=["CUDA7"]))


def test_blocks_can_be_left_out_of_a_made_model(tmp_path: Path) -> None:
    path = tiny_gguf.write(tmp_path / "model.gguf", tiny_gguf.llama_bytes())
    made = tmp_path / "pruned.gguf"
    quantize(path, made, "Q8_0", [1])
    with Model(path) as whole, Model(made) as pruned:
        assert pruned.layers == whole.layers - 1


def test_an_unknown_weight_type_lists_the_known_ones(tmp_path: Path) -> None:
    from specli.errors import UsageError

    with pytest.raises(UsageError, match="Q9_X") as error:
        quantize(tmp_path / "a", tmp_path / "b", "Q9_X")
    assert "Q4_K_M" in (error.value.hint or "")
