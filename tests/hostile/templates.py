"""Chat templates, put together at random: each ends in a text or in a sentence, within limits."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

from specli.llama.child import ChildError
from specli.llama.rendering import Renderer
from tests.hostile.entry import Entry, require_sentence

VARIABLES = {
    "messages": [{"role": "user", "content": "Hi \udcff \x1b[2J"}, {"role": "tool", "content": ""}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "bos_token": "<s>",
    "eos_token": "</s>",
    "add_generation_prompt": True,
}
ATOMS = (
    *(
        "messages",
        "tools",
        "bos_token",
        "loop",
        "cycler",
        "namespace()",
        "range(3)",
        "range(99999)",
    ),
    *("''", "'a'", "0", "-1", "1e308", "[]", "{}", "none", "true", "missing", "raise_exception"),
    *("strftime_now", "lipsum", "dict", "joiner", "self", "caller", "varargs", "'%s'", "10 ** 999"),
)
SUFFIXES = (
    *("[0]", "[-1]", "['content']", ".content", ".__class__", ".__class__.__mro__", ".append(1)"),
    *(
        "()",
        "('%Y')",
        "('a' * 99)",
        ".items()",
        ".format(messages)",
        ".__globals__",
        "[:9]",
        ".upper()",
    ),
)
FILTERS = (
    *(
        "trim",
        "tojson",
        "length",
        "list",
        "join(',')",
        "replace('a', 'b')",
        "upper",
        "int",
        "float",
    ),
    *("batch(2)", "batch(0)", "slice(0)", "format(1)", "center(9)", "center(999999999)", "sort"),
    *(
        "attr('__class__')",
        "map('upper')",
        "selectattr('role')",
        "indent(2)",
        "wordwrap(0)",
        "xmlattr",
    ),
    *("tojson(indent=9999999)", "round(99)", "truncate(-5)", "urlize", "groupby('role')", "sum"),
)
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "in", "==", "<", "and", "or", "is")


def expression(rng: random.Random, depth: int = 3) -> str:
    kind = rng.randrange(6) if depth else 0
    if kind == 0:
        return rng.choice(ATOMS)
    inner = expression(rng, depth - 1)
    if kind == 1:
        return inner + rng.choice(SUFFIXES)
    if kind == 2:
        return f"({inner}) | {rng.choice(FILTERS)}"
    if kind == 3:
        return f"({inner}) {rng.choice(OPERATORS)} ({expression(rng, depth - 1)})"
    if kind == 4:
        return f"({inner} if {expression(rng, depth - 1)} else {rng.choice(ATOMS)})"
    return f"[{inner}, {expression(rng, depth - 1)}]"


def statement(rng: random.Random, depth: int = 3) -> str:
    kind = rng.randrange(8) if depth else 0
    value = expression(rng, depth)
    body = statement(rng, depth - 1) if kind > 1 else ""
    return (
        f"{{{{ {value} }}}}",
        f"{{%- set x = {value} %}}",
        f"{{% for m in {value} %}}{body}{{% endfor %}}",
        f"{{% if {value} %}}{body}{{% else %}}x{{% endif %}}",
        f"{{% macro f(a) %}}{body}{{% endmacro %}}{{{{ f({value}) }}}}",
        f"{{% for m in messages recursive %}}{body}{{{{ loop(messages) }}}}{{% endfor %}}",
        f"{{% generation %}}{body}{{% endgeneration %}}",
        f"{{% for a in range(9999) %}}{body}{{% endfor %}}",
    )[kind]


def make(rng: random.Random) -> str:
    # Deep ones nearly always fail somewhere; shallow ones show what a text may do.
    depths = [rng.choice((0, 0, 1, 3)) for _ in range(rng.randrange(1, 5))]
    template = "".join(statement(rng, depth) for depth in depths)
    if rng.random() < 0.1:
        position = rng.randrange(len(template))
        template = (
            template[:position] + rng.choice(("{%", "}}", "\0", "{#", "'")) + template[position:]
        )
    return template


@cache
def _renderer() -> Renderer:
    return Renderer(seconds=1.0)


def check(template: str, folder: Path) -> str:
    try:
        _renderer().render(template, VARIABLES)
    except ChildError as error:
        require_sentence(str(error))
        return "refused"
    return "rendered"


ENTRY = Entry(
    "templates",
    make,
    check,
    seeds=(
        "{{ 'a' * 2000000000 }}",
        "{{ '%1000000000d' | format(1) }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 1 // 0 }}{{ 2.0 ** 9999 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ),
)
