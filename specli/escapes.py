"""Text from files, models and servers: whether it is one, and made harmless for a terminal."""

from __future__ import annotations

import json

NO_UNICODE = "half of a surrogate pair is no Unicode text"

_NO_SIGN = "\N{REPLACEMENT CHARACTER}"


def _signs() -> dict[int, str | None]:
    signs: dict[int, str | None] = {code: chr(0x2400 + code) for code in range(0x20)}
    signs |= dict.fromkeys(range(0x80, 0xA0), _NO_SIGN)
    # Overrides of the writing direction would also reverse the status line.
    signs |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], _NO_SIGN)
    signs |= dict.fromkeys([0x2028, 0x2029], _NO_SIGN)
    signs[0x7F] = "\N{SYMBOL FOR DELETE}"
    # A carriage return is half of a Windows line end, and useless elsewhere.
    signs[ord("\r")] = None
    del signs[ord("\n")], signs[ord("\t")]
    return signs


_SIGNS = _signs()


def harmless(text: str) -> str:
    """`text` with control characters made visible, so that it cannot control the terminal."""
    return text if text.isprintable() else text.translate(_SIGNS)


def is_unicode(value: object) -> bool:
    """Whether a text, or a value of JSON, is free of halves of surrogate pairs."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
