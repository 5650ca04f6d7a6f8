"""llama.cpp's parameters from flat settings."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from specli.drafting_settings import placement
from specli.errors import UsageError
from specli.native import DENSE, EXPERTS, Native, native
from specli.option_table import OPTIONS


@pytest.mark.parametrize(
    ("settings", "field", "value"),
    [
        ({"load_mode": "mmap"}, "load_mode", "mmap"),
        ({"tensor_split": "3,1/2"}, "tensor_split", (3.0, 1.0, 2.0)),
        ({"rope_scale": 4.0}, "rope_freq_scale", 0.25),
        (
            {"control_vector": ("a",), "control_vector_scaled": ("b:-2",)},
            "control_vectors",
            (("a", 1), ("b", -2)),
        ),
        ({"control_vector_layer_range": "2,5"}, "control_layers", (2, 5)),
        ({"batch_size": 64, "ubatch_size": 8}, "ubatch", 8),
        ({"threads_batch": "auto"}, "threads_batch", None),
        ({"cpu_moe": True}, "tensor_buffers", ((EXPERTS, "CPU"),)),
        ({"n_cpu_ffn": 1}, "tensor_buffers", ((rf"blk\.0{DENSE}", "CPU"),)),
        ({"override_tensor": ("a=b=CPU,c=CPU",)}, "tensor_buffers", (("a=b", "CPU"), ("c", "CPU"))),
        (
            {"lora": ("a,b",), "lora_scaled": ("c:d:0.5",)},
            "loras",
            (("a", 1), ("b", 1), ("c:d", 0.5)),
        ),
        (
            {"override_kv": ("a.b=int:-1,c=bool:true", "d=str:x=y", '"e=str:1,2"', "f=float:0.5")},
            "overrides",
            (
                ("a.b", "int", -1),
                ("c", "bool", True),
                ("d", "str", "x=y"),
                ("e", "str", "1,2"),
                ("f", "float", 0.5),
            ),
        ),
    ],
)
def test_settings_become_parameters(settings: dict[str, object], field: str, value: object) -> None:
    assert getattr(native(settings), field) == value


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tensor_split": "a,b"}, "`tensor_split` takes shares, not 'a,b'"),
        ({"tensor_split": "0,0"}, "`tensor_split`"),
        ({"tensor_split": "1,-1"}, "`tensor_split`"),
        ({"tensor_split": "1,inf"}, "`tensor_split`"),
        ({"override_tensor": ("ffn",)}, "`override_tensor` takes PATTERN=BUFFER, not 'ffn'"),
        ({"override_tensor": ("=CPU",)}, "`override_tensor`"),
        ({"override_kv": ("a",)}, "`override_kv` takes KEY=TYPE:VALUE, not 'a'"),
        ({"override_kv": ("a=int:1.5",)}, "`override_kv`"),
        ({"override_kv": (f"a=int:{2**63}",)}, "`override_kv`"),
        ({"override_kv": ("a=float:nan",)}, "`override_kv`"),
        ({"override_kv": ("a=bool:yes",)}, "`override_kv`"),
        ({"override_kv": (f"a=str:{'x' * 128}",)}, "`override_kv`"),
        ({"override_kv": (f"{'k' * 128}=int:1",)}, "`override_kv`"),
        ({"override_kv": ("a=byte:1",)}, "`override_kv`"),
        ({"control_vector_scaled": ("a",)}, "`control_vector_scaled` takes FILE:SCALE"),
        ({"control_vector_layer_range": "5,2"}, "`control_vector_layer_range` takes START,END"),
        ({"control_vector_layer_range": "x"}, "`control_vector_layer_range` takes START,END"),
        ({"lora_scaled": ("a",)}, "`lora_scaled` takes FILE:SCALE, not 'a'"),
        ({"lora_scaled": ("a:inf",)}, "`lora_scaled`"),
    ],
)
def test_what_llama_cpp_would_not_read_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        native(settings)


def test_a_draft_has_its_own_tensors_threads_and_adapters_and_no_control_vectors() -> None:
    settings: dict[str, object] = {
        "lora": ("a",),
        "lora_draft": ("b",),
        "lora_scaled_draft": ("c:2",),
        "control_vector": ("v",),
        "cpu_moe": True,
        "n_cpu_moe_draft": 1,
        "threads_batch_draft": 3,
        "rope_freq_base": 5.0,
    }
    draft = placement(settings, "_draft").native
    assert draft.tensor_buffers == ((rf"blk\.0{EXPERTS}", "CPU"),)
    assert (draft.loras, draft.control_vectors) == ((("b", 1.0), ("c", 2.0)), ())
    assert (draft.threads_batch, draft.rope_freq_base) == (3, 5.0)
    assert placement(settings).native.loras == (("a", 1.0),)


def test_parameters_survive_json() -> None:
    given = native({"lora": ("a",), "override_kv": ("a=int:1",), "tensor_split": "1,2"})
    assert Native.from_json(json.loads(json.dumps(asdict(given)))) == given


def test_every_setting_is_an_option() -> None:
    names = ("load_mode", "numa", "split_mode", "main_gpu", "tensor_split", "rope_scale")
    assert {*names} <= OPTIONS.keys()
