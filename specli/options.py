"""What was chosen of the options, by whoever: a command line, a profile, the user's own file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specli.option_table import AUTO, OPTIONS

_EXCLUSIVE = ("grammar", "grammar_file", "json_schema")
_LENGTHS = ("draft_min", "draft_p_min", "ngram_size", "ngram_draft")


class Options:
    """Values of options by their long names; what was not given is None."""

    def __init__(self, **values: Any) -> None:
        """Raises TypeError for a name that no option has."""
        unknown = values.keys() - OPTIONS.keys()
        if unknown:
            raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
        self._values = {name: value for name, value in values.items() if value is not None}
        self.config: Mapping[str, Any] = {}
        """What the user's own file sets; a profile goes before it."""

    def __getattr__(self, name: str) -> Any:
        if name not in OPTIONS:
            raise AttributeError(name)
        return self._values.get(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def given(self) -> dict[str, Any]:
        """The options that are set, by their long names."""
        return dict(self._values)

    def number(self, name: str) -> int | None:
        """A number of the machine or of tokens; None where it is `auto` or not given."""
        value = self._values.get(name)
        return None if value == AUTO else value

    def but(self, **values: Any) -> Options:
        """These options with other values; None takes one away."""
        return Options(**self._values | values).under(self.config)

    def under(self, config: Mapping[str, Any]) -> Options:
        """These options with what the user's own file sets."""
        same = Options(**self._values)
        same.config = config
        return same

    def over(self, defaults: Mapping[str, Any]) -> Options:
        """These options where they are given, `defaults` elsewhere.

        An option takes those with it that it contradicts: a text follows one grammar, and with
        `draft_max` auto no length is fixed.
        """
        overridden: tuple[str, ...] = ()
        if any(name in self._values for name in _EXCLUSIVE):
            overridden += _EXCLUSIVE
        if self._values.get("draft_max") == AUTO:
            overridden += _LENGTHS
        kept = {name: value for name, value in defaults.items() if name not in overridden}
        return Options(**kept | self._values).under(self.config)
