"""Chat templates are programs from a model file: whatever they do, a sentence comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from specli.llama.child import ChildError
from specli.llama.rendering import Renderer

VARIABLES = {
    "messages": [{"role": "user", "content": "Hi 😀 ü"}],
    "tools": None,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "add_generation_prompt": True,
}


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    one = Renderer(seconds=2.0)
    yield one
    one.child.close()


TEMPLATES = [
    "{{ bos_token }}{% for m in messages %}\n  {{ m.role }}: {{ m['content'] | trim }}\n"
    "{% endfor %}",
    "{% generation %}{{ messages | tojson(indent=2) }}{% endgeneration %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m }}{% endfor %}x",
    "{{ strftime_now('%Y') }}{{ messages[0].content | upper }}{{ missing }}",
    "{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}"
    "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(1) }}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_text_is_that_of_llama_cpp_pythons_own_formatter(
    renderer: Renderer, template: str
) -> None:
    own = Jinja2ChatFormatter(template=template, bos_token="<s>", eos_token="</s>")
    messages = VARIABLES["messages"]
    assert renderer.render(template, VARIABLES) == own(messages=messages).prompt  # type: ignore[arg-type]


HUGE = [
    "{{ 'a' * 2000000000 }}",
    "{{ '%1000000000d' | format(1) }}",
    "{% set a = [0] * 999999999 %}",
    "{{ lipsum(n=100000) }}",
    "{{ 'a'.center(2000000000) }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{{ 'a' * 10000 }}{% endfor %}",
]
REFUSED = {
    "{{ 1 // 0 }}": "division",
    "{{ 2.0 ** 9999 }}": "out of range",
    "{{ {}.a.b }}": "no attribute",
    "{{ raise_exception('no system message') }}": "no system message",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "without end",
    "{{ " + 5000 * "(" + "1" + 5000 * ")" + " }}": "too deeply",
    "{{ messages.__class__.__mro__ }}": "unsafe",
    "{{ messages.append(1) }}": "unsafe",
    "{% include 'file' %}": "no loader",
    "{% nonsense %}": "unknown tag",
    "{{ [][1].x }}": "no element 1",
    "{{ '%s' | format }}": "not enough arguments",
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process")
@pytest.mark.parametrize("template", HUGE)
def test_a_template_that_takes_all_time_or_memory_is_stopped(
    renderer: Renderer, template: str
) -> None:
    with pytest.raises(ChildError, match=r"did not end|more than|range|ended"):
        renderer.render(template, VARIABLES)
    assert renderer.render("{{ messages[0].role }}", VARIABLES) == "user"


@pytest.mark.parametrize("template", REFUSED)
def test_a_template_that_fails_is_refused_with_its_reason(
    renderer: Renderer, template: str
) -> None:
    with pytest.raises(ChildError, match=REFUSED[template]):
        renderer.render(template, VARIABLES)


def test_one_child_serves_all_and_gets_no_secret(
    monkeypatch: pytest.MonkeyPatch, renderer: Renderer
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    own = Renderer()
    try:
        own.render("a", VARIABLES)
        child = own.child._child
        own.render("b", VARIABLES)
        assert own.child._child is child
        assert child is not None
        if sys.platform == "linux":
            with open(f"/proc/{child.pid}/environ", "rb") as file:  # noqa: PTH123
                assert b"hf_secret" not in file.read()
    finally:
        own.child.close()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process, as Linux has them")
def test_a_child_that_nobody_watches_ends_by_its_own_limit() -> None:
    """As after a kill of the process that started it, in the middle of a template."""
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    program = (
        "from specli.llama import child, rendering; child.serve(rendering._answer, 1 << 29, 0)"
    )
    line = json.dumps({"template": endless, "variables": {}}) + "\n"
    done = subprocess.run([sys.executable, "-c", program], input=line, text=True, timeout=60)
    assert done.returncode == -signal.SIGXCPU
