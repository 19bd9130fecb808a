"""The ``Spacefile``: what a Hugging Face Space of samref is made of, read strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from samref.errors import SpaceError
from samref.files import disk_errors
from samref.settings import ENVIRONMENT_PREFIX

SPACEFILE_NAME = "Spacefile"

Colour = Literal["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
"""Colours that Hugging Face knows for the card of a Space."""

Hardware = Literal[
    "cpu-basic",
    "cpu-upgrade",
    "zero-a10g",
    "t4-small",
    "t4-medium",
    "l4x1",
    "l4x4",
    "l40sx1",
    "l40sx4",
    "l40sx8",
    "a10g-small",
    "a10g-large",
    "a10g-largex2",
    "a10g-largex4",
    "a100-large",
    "a100x4",
    "a100x8",
]
"""Machines by the names of Hugging Face's interface; ``zero-a10g`` is ZeroGPU, whatever GPU that has today."""

Header = Literal["cross-origin-embedder-policy", "cross-origin-opener-policy", "cross-origin-resource-policy"]
"""The only headers that a Space may set, in lower case."""

LICENCES = {
    "apache-2.0": "Apache License",
    "mit": "Permission is hereby granted, free of charge",
    "bsd-3-clause": "Redistribution and use in source and binary forms",
    "agpl-3.0": "GNU AFFERO GENERAL PUBLIC LICENSE",
}
"""Words of each licence by the identifier that Hugging Face knows it by; those that samref could carry."""

DESCRIPTION_LENGTH = 60
"""Hugging Face refuses a longer ``short_description``."""

PARTS_OF_EMOJI = re.compile(
    r"""
    (?:[\U0001F1E6-\U0001F1FF]{2})                              # a flag is two letters
    | [\u00A9\u00AE\u203C-\u3299\U0001F000-\U0001FAFF]\uFE0F?     # one sign, drawn in colour
      [\U0001F3FB-\U0001F3FF]?                                  # of some skin
      (?:\u200D[\u2190-\u3299\U0001F000-\U0001FAFF]\uFE0F?[\U0001F3FB-\U0001F3FF]?)*  # joined to others
    """,
    re.VERBOSE,
)

VARIABLE_NAME = r"^[A-Z][A-Z0-9_]*$"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(text: object) -> object:
    """``30s``, ``10m``, ``2h``, ``1d`` in seconds; anything else is left for the schema to refuse."""
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("a duration such as 30s, 10m, 2h or 1d")
    return int(found[1]) * _SECONDS[found[2]]


def _emoji(text: str) -> str:
    if PARTS_OF_EMOJI.fullmatch(text) is None:
        raise ValueError("exactly one emoji")
    return text


def _licence(text: str) -> str:
    if text not in LICENCES:
        raise ValueError(f"one of {', '.join(sorted(LICENCES))}")
    return text


def _inside(text: str) -> str:
    """A path or a pattern that stays inside of the repository, with slashes, in one spelling."""
    parts = text.split("/")
    if not text or "\\" in text or ":" in text or any(part in {"", ".", ".."} for part in parts):
        raise ValueError("a path inside of the repository, such as assets/examples/coffee.jpg")
    return text


Duration = Annotated[int, BeforeValidator(_duration)]
"""Seconds; written as 30s, 10m, 2h or 1d."""

InsidePath = Annotated[str, AfterValidator(_inside)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    """Nothing that is not named, nothing converted: a slip of the pen is said, not guessed at."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Card(_Strict):
    """What people see of the Space on Hugging Face; the keys are those of its front matter."""

    title: Annotated[str, Field(min_length=1, max_length=60)]
    emoji: Annotated[str, AfterValidator(_emoji)]
    colorFrom: Colour  # noqa: N815 - Hugging Face's own names, here and below
    colorTo: Colour  # noqa: N815
    short_description: Annotated[str, Field(min_length=1, max_length=DESCRIPTION_LENGTH)]
    license: Annotated[str, AfterValidator(_licence)]
    tags: tuple[Text, ...] = Field(default=(), strict=False)
    models: tuple[Text, ...] = Field(default=(), strict=False)
    thumbnail: InsidePath | None = None
    header: Literal["mini", "default"] = "default"
    pinned: bool = False


class Build(_Strict):
    """What Hugging Face starts, and with which versions."""

    sdk: Literal["gradio"]
    sdk_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    python_version: Annotated[str, Field(pattern=r"^3\.\d+(\.\d+)?$")]
    app_file: InsidePath
    readme: InsidePath
    startup_timeout: Duration
    custom_headers: dict[Header, Text] = Field(default_factory=dict)


class Files(_Strict):
    """Which files of the repository the Space gets; patterns as of ``Path.glob``, ``**`` for any folders."""

    include: tuple[InsidePath, ...] = Field(min_length=1, strict=False)
    exclude: tuple[InsidePath, ...] = Field(default=(), strict=False)
    max_file_mb: Annotated[float, Field(gt=0)]
    max_total_mb: Annotated[float, Field(gt=0)]


class Secret(_Strict):
    """The name of a secret that the Space can be given; values are never written down."""

    name: Annotated[str, Field(pattern=VARIABLE_NAME)]
    why: Text
    required: bool = False


class OAuth(_Strict):
    """Signing in with Hugging Face."""

    enabled: bool
    scopes: tuple[Text, ...] = Field(default=("openid", "profile"), strict=False)
    expiration_minutes: Annotated[int, Field(gt=0, le=43200)] = 480
    authorized_org: str | None = None


class Target(_Strict):
    """One kind of machine that the Space can run on.

    Attributes:
        hardware: by Hugging Face's name.
        requirements: file that becomes ``requirements.txt``.
        sleep_after: seconds without visitors until paid hardware stops; None leaves it to Hugging Face.
        gpu_seconds: of ZeroGPU, asked for by one call.
    """

    hardware: Hardware
    requirements: InsidePath
    sleep_after: Duration | None = None
    gpu_seconds: Annotated[int, Field(gt=0, le=120)] | None = None

    @property
    def is_zero_gpu(self) -> bool:
        """Whether a GPU is there for single calls only."""
        return self.hardware == "zero-a10g"


class Storage(_Strict):
    """Where what people label outlives a restart; a Space's own disk does not.

    Attributes:
        ship_to: address of a bucket or dataset repository, as fsspec writes it; None keeps nothing.
        ship_every: seconds between two shipments of what happened.
        snapshot_every: seconds between two whole copies.
    """

    ship_to: Text | None = None
    ship_every: Duration = 5
    snapshot_every: Duration = 600


class Example(_Strict):
    """An image that comes along, whose it is, and what may be done with it."""

    file: InsidePath
    credit: Text
    licence: Text


class Checks(_Strict):
    """Seconds that ``space check`` grants on this machine."""

    boot_seconds: Annotated[float, Field(gt=0)]
    first_click_seconds: Annotated[float, Field(gt=0)]


class Spacefile(_Strict):
    """The manifest as a whole."""

    v: Literal[1]
    space: Card
    build: Build
    model: Text
    files: Files
    variables: dict[Annotated[str, Field(pattern=VARIABLE_NAME)], str]
    secrets: tuple[Secret, ...] = Field(strict=False)
    oauth: OAuth
    targets: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], Target] = Field(min_length=1)
    storage: Storage
    examples: tuple[Example, ...] = Field(strict=False)
    check: Checks

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        names = [secret.name for secret in self.secrets]
        for name in names:
            if name in self.variables or names.count(name) > 1:
                raise ValueError(f"each name of a variable or secret once; {name} stands there twice")
        return self

    def target(self, name: str) -> Target:
        """The target of that name.

        Raises:
            SpaceError: there is none; the message lists those there are.
        """
        if name not in self.targets:
            raise SpaceError(
                f"There is no target {name[:60]!r} in the Spacefile. There are: {', '.join(self.targets)}."
            )
        return self.targets[name]

    def variables_of(self, target: str) -> dict[str, str]:
        """All public variables that the Space of a target is given: those written down, and those of the storage.

        Raises:
            SpaceError: there is no such target.
        """
        self.target(target)
        found = dict(self.variables)
        if self.storage.ship_to is not None:
            found[f"{ENVIRONMENT_PREFIX}SHIP_TO"] = self.storage.ship_to
            found[f"{ENVIRONMENT_PREFIX}SHIP_EVERY_S"] = str(self.storage.ship_every)
            found[f"{ENVIRONMENT_PREFIX}SNAPSHOT_EVERY_S"] = str(self.storage.snapshot_every)
        return found


def load_spacefile(path: Path) -> Spacefile:
    """The manifest at ``path``.

    Raises:
        SpaceError: it cannot be used; a sentence for each fault, all at once.
        StorageError: it cannot be read.
    """
    with disk_errors(f"{path} cannot be read"):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8")
        faults = [f"{path.name}, {each}" for each in _said_twice(yaml.compose(text, yaml.SafeLoader), set())]
        values = yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise SpaceError(f"{path} is not UTF-8 text. Save it as such.") from error
    except yaml.YAMLError as error:
        raise SpaceError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise SpaceError(f"{path} holds no keys. Begin with one from the repository of samref.")
    try:
        spacefile = Spacefile.model_validate(values)
    except ValidationError as error:
        raise SpaceError("\n".join([*faults, *sentences_of(path.name, error)])) from error
    if faults:
        raise SpaceError("\n".join(faults))
    return spacefile


def _said_twice(node: Any, seen: set[int]) -> Iterator[str]:
    """Keys that stand twice in one mapping, of which YAML would take the last one in silence."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in dict.fromkeys(keys):
            if keys.count(key) > 1:
                yield f"line {node.start_mark.line + 1}: {key} stands twice in the same place. Keep one of them."
        for _, value in node.value:
            yield from _said_twice(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _said_twice(value, seen)


_WANTED = {
    "string_type": "text is needed; put it in quotes",
    "bool_type": "true or false is needed",
    "int_type": "a whole number is needed",
    "float_type": "a number is needed",
    "dict_type": "keys with values are needed",
    "model_type": "keys with values are needed",
    "tuple_type": "a list is needed",
    "too_short": "at least one entry is needed",
    "string_too_short": "some text is needed",
    "greater_than": "a number above {gt:g} is needed",
    "less_than_equal": "a number of at most {le:g} is needed",
    "literal_error": "{expected} is needed",
    "string_pattern_mismatch": "{pattern} is needed",
}
"""What a key takes, by the fault that pydantic found."""

_PATTERNS = {
    r"^\d+\.\d+\.\d+$": "an exact version such as 6.31.0",
    r"^3\.\d+(\.\d+)?$": "a version of Python such as 3.12",
    VARIABLE_NAME: "a name of capital letters, digits and underscores, such as SAMREF_DEMO_DAYS",
    r"^[a-z][a-z0-9-]*$": "a name of small letters, digits and hyphens, such as cpu",
}
_SHOWN = 80


def sentences_of(file: str, error: ValidationError) -> list[str]:
    """Each fault that a schema found in ``file``, as a sentence."""
    return list(dict.fromkeys(_sentence(file, fault) for fault in error.errors(include_url=False)))


def _sentence(file: str, fault: Mapping[str, Any]) -> str:
    """One fault of the schema, as a sentence about the key that it is of."""
    where = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    context = dict(fault.get("ctx", {}))
    kind = fault["type"]
    if kind == "extra_forbidden":
        return f"{file}: {where} is no key of the Spacefile. Take it out, or mend its spelling."
    if kind == "missing":
        return f"{file}: {where} is missing."
    if kind == "string_too_long":
        length, limit = len(fault["input"]), context["max_length"]
        return f"{file}: {where} has {length} characters, and at most {limit} are taken. Shorten it."
    if kind == "value_error":
        wanted = f"{context['error']} is needed" if where else str(context["error"])
        if not where:
            return f"{file} takes {wanted}."
    else:
        context["pattern"] = _PATTERNS.get(str(context.get("pattern")), "another form")
        wanted = _WANTED[kind].format(**context) if kind in _WANTED else fault["msg"]
    return f"{file}: {where} is {_quoted(fault['input'])}, but {wanted}."


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
