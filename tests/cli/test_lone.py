"""Flags whose value may be left out."""

from __future__ import annotations

import pytest

from specli.cli.lone import completed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("in.jsonl --ray", "in.jsonl --ray here"),
        ("--ray in.jsonl", "--ray here in.jsonl"),
        ("in.jsonl --ray -o out", "in.jsonl --ray here -o out"),
        ("in.jsonl --ray auto", "in.jsonl --ray auto"),
        ("--ray 10.0.0.1:6379 in.jsonl", "--ray 10.0.0.1:6379 in.jsonl"),
        ("--ray [::1]:6379 in.jsonl", "--ray [::1]:6379 in.jsonl"),
        ("--ray ray://head:10001 in.jsonl", "--ray ray://head:10001 in.jsonl"),
        ("--ray s3://bucket/in.jsonl", "--ray here s3://bucket/in.jsonl"),
        ("--ray=local in.jsonl", "--ray=local in.jsonl"),
        ("-- --ray", "-- --ray"),
        ("in.jsonl -o out", "in.jsonl -o out"),
    ],
)
def test_an_address_is_told_from_an_argument(line: str, expected: str) -> None:
    assert completed(line.split()) == expected.split()
