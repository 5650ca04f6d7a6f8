"""LoRA, control vectors and split files: they change what the target says, drafting does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specli.engine.engine import Engine
from specli.engine.sequence import GenerationRequest
from specli.events import Round
from specli.gguf.header import read_header
from specli.native import Native
from specli.session import Session, Setup
from specli.session.costs import costs_record
from specli.speculative import DraftModel, FixedLength, Placement, SpeculativeConfig, Suffix
from tests import tiny_gguf as tiny
from tests.llama.test_parameters import adapter, directions

PROMPT = [5, 6, 7, 5, 6]


def generated(engine: Engine) -> tuple[list[int], int]:
    engine.submit(GenerationRequest(PROMPT, max_tokens=30, ignore_end=True))
    rounds = [event for event in engine.run() if isinstance(event, Round)]
    return [token for one in rounds for token in one.tokens], sum(one.accepted for one in rounds)


def texts(setup: Setup, records: Path) -> tuple[list[int], int]:
    """The text, which has to be the same with and without drafting, and the accepted tokens."""
    with Session(setup, records) as session:
        text, accepted = generated(session.engine())
        assert text == generated(session.engine_for(SpeculativeConfig()))[0]
        return text, accepted


def drafting(draft: Path, native: Native = Native()) -> SpeculativeConfig:  # noqa: B008
    model = DraftModel(draft, Placement(native=native))
    return SpeculativeConfig((model, Suffix()), FixedLength(3))


def lora(folder: Path) -> Native:
    return Native(loras=((str(adapter(folder / "lora.gguf", scale=3.0)), 1.0),))


def steering(folder: Path) -> Native:
    return Native(control_vectors=((str(directions(folder / "vector.gguf")), 2.0),))


@pytest.mark.parametrize("changing", [lora, steering], ids=["lora", "control vector"])
def test_an_adapter_changes_the_text_and_drafting_does_not(
    setup: Setup, records: Path, tmp_path: Path, changing: Callable[[Path], Native]
) -> None:
    changed = replace(setup, target_placement=Placement(native=changing(tmp_path)))
    plain, _accepted = texts(setup, records)
    text, accepted = texts(changed, records)
    assert text != plain
    assert accepted > 0
    assert costs_record(changed, records) != costs_record(setup, records)


def test_a_draft_has_an_adapter_of_its_own_that_changes_what_it_drafts(
    setup: Setup, models: Path, records: Path, tmp_path: Path
) -> None:
    same = SpeculativeConfig((DraftModel(models / "target.gguf"),), FixedLength(3))
    plain, accepted = texts(replace(setup, speculative=same), records)
    model = DraftModel(models / "target.gguf", Placement(native=lora(tmp_path)))
    other = SpeculativeConfig((model,), FixedLength(3))
    text, right = texts(replace(setup, speculative=other), records)
    assert text == plain
    assert right < accepted


def test_an_adapter_that_is_written_anew_has_other_costs(
    setup: Setup, records: Path, tmp_path: Path
) -> None:
    changed = replace(setup, target_placement=Placement(native=lora(tmp_path)))
    before = costs_record(changed, records)
    assert costs_record(changed, records) == before
    path = adapter(tmp_path / "lora.gguf", fields={"general.description": "trained longer"})
    assert path.exists()
    assert costs_record(changed, records) != before


def split(whole: Path, folder: Path) -> Path:
    """The model in two files, as llama.cpp's gguf-split names them; the path of the first."""
    header = read_header(whole)
    content = whole.read_bytes()
    names = list(header.tensors)
    fields = {
        key: tiny.Typed(one.kind.value, one.value, one.element and one.element.value)
        for key, one in header.fields.items()
    }
    parts = []
    for number, some in enumerate((names[:7], names[7:])):
        tensors = {}
        for name in some:
            tensor = header.tensors[name]
            start = header.data_offset + tensor.offset
            raw = content[start : start + tensor.size]
            tensors[name] = np.frombuffer(raw, dtype="<f4").reshape(tensor.shape[::-1])
        own = {
            "split.no": tiny.Typed(tiny.U16, number),
            "split.count": tiny.Typed(tiny.U16, 2),
            "split.tensors.count": tiny.Typed(tiny.I32, len(names)),
        }
        path = folder / f"model-{number + 1:05d}-of-00002.gguf"
        parts.append(
            tiny.write(path, tiny.gguf_bytes({**(fields if number == 0 else {}), **own}, tensors))
        )
    return parts[0]


def test_models_in_several_files_draft_and_are_drafted_for(
    setup: Setup, models: Path, records: Path, tmp_path: Path
) -> None:
    plain, accepted = texts(replace(setup, speculative=drafting(models / "draft.gguf")), records)
    folders = tmp_path / "target", tmp_path / "draft"
    for folder in folders:
        folder.mkdir()
    target = split(models / "target.gguf", folders[0])
    draft = split(models / "draft.gguf", folders[1])
    apart = Setup(target, speculative=drafting(draft))
    assert texts(apart, records) == (plain, accepted)
