"""Prompts made from fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specli.batch.template import MissingFieldError, Template
from specli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("Summarise: {text}", {"text": "a {b}"}, "Summarise: a {b}"),
        ("{a} and {a}, {b}", {"a": "x", "b": 1.5}, "x and x, 1.5"),
        ('{{"q": {text}}}', {"text": ["ü", None]}, '{"q": ["ü", null]}'),
        ("{the column}", {"the column": "x"}, "x"),
        ("{a.b}", {"a.b": "x"}, "x"),
    ],
)
def test_fields_are_put_in(text: str, fields: dict[str, object], expected: str) -> None:
    assert Template(text).fill(fields) == expected


@given(st.text())
def test_a_field_may_hold_any_text(text: str) -> None:
    assert Template("<{x}>").fill({"x": text}) == f"<{text}>"


@pytest.mark.parametrize("text", ["no field", "{", "}", "{text!r}", "{text:>9}", "{}", "{{text}}"])
def test_what_is_no_template_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(UsageError) as error:
        Template(text)
    assert error.value.hint


def test_a_missing_field_is_named() -> None:
    with pytest.raises(MissingFieldError, match="'title'"):
        Template("{title}").fill({"text": "x"})
