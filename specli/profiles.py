"""Profiles: a pair of models and settings for them, in a YAML file that is read strictly."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never

import yaml
from platformdirs import user_config_path
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    create_model,
)

from specli.errors import UsageError
from specli.files import read_text, write_text
from specli.hub.made import Recipe
from specli.option_table import OPTIONS, Option, closest
from specli.option_values import parsed

SUFFIXES = (".yaml", ".yml")

MOST_BYTES = 1 << 18
"""Size of a profile; those that specli ships and writes have a few thousand bytes."""

MOST_NESTED = 20

MANY = 12
"""Keys from which on a hint says where they are listed."""


class ProfileError(UsageError):
    """A profile with mistakes: the first, and the `further` ones."""

    def __init__(self, message: str, hint: str | None, further: Sequence[UsageError]) -> None:
        super().__init__(message, hint=hint)
        self.further = further


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class MadeModel(_Strict):
    """A model made from another one by llama.cpp's quantiser."""

    source: Annotated[str, Field(alias="from", min_length=1)]
    type: Annotated[str, Field(min_length=1)]
    prune_layers: list[Annotated[int, Field(ge=0)]] = []


class _Settings(_Strict):
    """Values for options, under their long names."""

    def given(self) -> dict[str, Any]:
        """The values that the profile sets, as the command line would have them."""
        values = self.model_dump(exclude_none=True)
        return {name: parsed(OPTIONS[name], value) for name, value in values.items()}


def _type_of(option: Option) -> Any:
    """The type of an option's value in a profile."""
    text = Annotated[str, Field(min_length=1)]
    number: Any = int if option.kind == "integer" else float
    bounded = Annotated[number, Field(ge=option.least, gt=option.above, le=option.most)]
    words = Literal[option.words] if option.words else None
    match option.kind:
        case "switch":
            return bool
        case "texts":
            return list[text]
        case "biases":
            return Annotated[list[str], AfterValidator(_biases)]
        case "integer" | "number":
            return bounded | words if words else bounded
        case _:
            return words or str


def _biases(values: list[str]) -> list[str]:
    try:
        parsed(OPTIONS["logit_bias"], values)
    except UsageError as error:
        raise ValueError(error.message) from None
    return values


if TYPE_CHECKING:
    Settings = _Settings
else:
    # Made from the table of options, so that each is declared once.
    Settings = create_model(
        "Settings",
        __base__=_Settings,
        **{
            option.name: (_type_of(option) | None, None)
            for option in OPTIONS.values()
            if option.setting
        },
    )


def _kind_of_model(value: object) -> str:
    return "made" if isinstance(value, dict | MadeModel) else "reference"


ModelEntry = Annotated[
    Annotated[str, Field(min_length=1), Tag("reference")] | Annotated[MadeModel, Tag("made")],
    Discriminator(_kind_of_model),
]


NAME = r"^[a-z0-9][a-z0-9._-]*$"
"""What the name of a profile, and of its file, looks like."""


class Profile(_Strict):
    """A target, perhaps a draft, and settings; `notes` and `sources` are for people."""

    name: Annotated[str, Field(pattern=NAME)]
    description: Annotated[str, Field(min_length=1)]
    target: ModelEntry
    draft: ModelEntry | None = None
    defaults: Settings = Settings()
    notes: str | None = None
    sources: list[str] = []

    @property
    def target_model(self) -> str | Recipe:
        """What `specli.hub.references.resolve` takes for the target."""
        return _model(self.target)

    @property
    def draft_model(self) -> str | Recipe | None:
        """The same for the draft, None where the profile has none."""
        return None if self.draft is None else _model(self.draft)


def _model(entry: str | MadeModel) -> str | Recipe:
    if isinstance(entry, str):
        return entry
    return Recipe(entry.source, entry.type, tuple(entry.prune_layers))


def profile_folders() -> list[Path]:
    """Where profiles are looked for by name, the first folder first."""
    package = Path(__file__).parent
    shipped = package / "shipped_profiles"
    if not shipped.is_dir():
        shipped = package.parent / "profiles"
    return [one for one in (Path("profiles"), user_folder(), shipped) if one.is_dir()]


def user_folder() -> Path:
    """The user's own profiles; it need not exist."""
    return user_config_path("specli", appauthor=False) / "profiles"


def profile_files() -> dict[str, Path]:
    """Every profile that can be named, with its file, in order of name."""
    found: dict[str, Path] = {}
    for folder in profile_folders():
        for path in sorted(folder.iterdir()):
            # A pipe would keep whoever lists profiles waiting.
            if path.suffix in SUFFIXES and path.is_file():
                found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def load_profile(name: str) -> Profile:
    """A profile by its name, or by its file where `name` has a slash or ends in .yaml or .yml.

    Raises UsageError when there is none, or naming file, line and key of what is wrong in it.
    """
    return read_profile(find_profile(name))


def find_profile(name: str) -> Path:
    """The file of a profile. Raises UsageError when no profile has this name."""
    if name.endswith(SUFFIXES) or "/" in name or "\\" in name:
        return Path(name).expanduser()
    files = profile_files()
    if name in files:
        return files[name]
    close = difflib.get_close_matches(name, files, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(
        f"there is no profile {name!r}",
        hint=f"{hint}there are: {', '.join(files) or 'none'}; or name a .yaml file",
    )


def write_profile(path: Path, content: dict[str, object], comments: str = "") -> None:
    """Write a profile after `comments`, which are lines of YAML comments; all of it or nothing.

    Raises UsageError, and writes nothing, where it would not be valid; SpecliError where it cannot
    be written.
    """
    text = comments + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    _parse(path, text)
    write_text(path, text, folders=True)


def read_profile(path: Path) -> Profile:
    """Read and check one profile. Raises UsageError naming file, line and key."""
    return _parse(path, read_text(path, MOST_BYTES))


def _parse(path: Path, text: str) -> Profile:
    try:
        _require_plain(path, text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{line}: not valid YAML: {problem}") from error
    except (ValueError, RecursionError) as error:
        # What looks like a date and is none, and brackets nested by the thousand.
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{path}: a profile is a mapping of keys to values")
    for node in _repeated_keys(root):
        _fail(path, node, f"the key {node.value!r} is given a second time")
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        first, *further = _mistakes(path, root, error)
        raise ProfileError(first.message, first.hint, further) from None
    if profile.name != path.stem:
        _fail(
            path,
            _find(root, ("name",))[0],
            f"name is {profile.name!r} in a file called {path.name}",
            hint=f"name the file {profile.name}{path.suffix}, or change the name to {path.stem}",
        )
    return profile


def _require_plain(path: Path, text: str) -> None:
    """Raises UsageError for what makes a small file cost all time or memory: aliases of aliases
    stand for any number of values, and the parser's time grows with the square of the depth."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(f"{path}: aliases (*name) are not read in profiles")
        if depth > MOST_NESTED:
            raise UsageError(f"{path}: a profile is nested no deeper than {MOST_NESTED} levels")


def _repeated_keys(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key
            seen.add(key.value)
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _fail(path: Path, node: yaml.Node, problem: str, hint: str | None = None) -> Never:
    raise _mistake(path, node, problem, hint)


def _mistake(path: Path, node: yaml.Node, problem: str, hint: str | None = None) -> UsageError:
    return UsageError(f"{path}:{node.start_mark.line + 1}: {problem}", hint=hint)


def _mistakes(path: Path, root: yaml.Node, error: ValidationError) -> list[UsageError]:
    """Every mistake that pydantic found, the most telling first."""
    # A misspelt key is unknown and often also missing: the first of these says it better.
    items = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    found, meant = [], set()
    for item in items:
        node, keys = _find(root, item["loc"])
        if item["type"] != "missing":
            # A key that was merged in by `<<` is in the data and not in the mapping.
            keys = keys or [str(step) for step in item["loc"][-1:]] or ["profile"]
        hint = None
        if item["type"] == "extra_forbidden":
            owner, close = _meant(keys)
            meant.add(".".join([*keys[:-1], close or ""]))
            hint = f"did you mean {close}?" if close else f"known keys: {_known(owner)}"
            problem = f"unknown key {'.'.join(keys)}"
        elif item["type"] == "missing":
            missing = ".".join([*keys, str(item["loc"][-1])])
            if missing in meant:
                continue
            problem = f"the key {missing} is missing"
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            problem = f"{'.'.join(keys)}: {message}, not {item['input']!r}"
        found.append(_mistake(path, node, problem, hint))
    return found


def _meant(keys: list[str]) -> tuple[type[BaseModel], str | None]:
    """What has the keys of this place in a profile, and which of them was meant."""
    if len(keys) > 1 and keys[0] == "defaults":
        return Settings, closest(keys[-1])
    owner = MadeModel if len(keys) > 1 else Profile
    close = difflib.get_close_matches(keys[-1], _names(owner), n=1, cutoff=0.5)
    return owner, close[0] if close else None


def _names(owner: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in owner.model_fields.items()]


def _known(owner: type[BaseModel]) -> str:
    names = _names(owner)
    return ", ".join(names) if len(names) < MANY else "the long names of specli run --help-all"


def _find(root: yaml.Node, loc: tuple[int | str, ...]) -> tuple[yaml.Node, list[str]]:
    """The node of the last key in `loc` that is in the file, and the keys leading to it.

    pydantic's own steps, such as the tag of a union, are in `loc` but not in the file.
    """
    node = line = root
    keys: list[str] = []
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == step:
                    line, node = key, value
                    keys.append(str(step))
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            line = node = node.value[step]
            keys.append(str(step))
    return line, keys
