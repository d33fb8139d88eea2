"""Strict settings: one YAML file plus ``key.sub=value``, unknown keys fail and name the nearest valid one."""

import argparse
import copy
import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import core_schema

from data_prep.errors import SettingsError

_log = logging.getLogger(__name__)


class Settings(BaseModel):
    """A closed, frozen group of settings.

    Attributes:
        renamed: former name → name of a setting; the former one is accepted, with a note.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        former = [name for name in cls.renamed if isinstance(values, dict) and name in values]
        if not former:
            return values
        values = dict(values)
        for name in former:
            if cls.renamed[name] in values:
                raise ValueError(f"{name} is the former name of {cls.renamed[name]}; give the setting once")
            _log.info("setting %s is now called %s", name, cls.renamed[name])
            values[cls.renamed[name]] = values.pop(name)
        return values


Folders = Annotated[list[Path], BeforeValidator(lambda value: [value] if isinstance(value, str | Path) else value)]
"""One folder or a list of them."""

S = TypeVar("S", bound=Settings)

_CONFIGS = Path(__file__).parents[1] / "mae_rad" / "configs"
"""The folder ``configs`` of the project, in a checkout and as it is installed."""


def config_file(folder: str) -> Callable[[str], Path]:
    """For ``--config NAME|FILE``: turns the name of a config, without suffix, or a path into a path.

    Args:
        folder: of ``configs``, whose files have the names.

    Returns:
        A type for argparse, which refuses a word that is neither.
    """

    def find(word: str) -> Path:
        named = {path.stem: path for path in sorted((_CONFIGS / folder).glob("*.yaml"))}
        path = named.get(word, Path(word))
        if path.name == word and not path.suffix and not path.exists():
            names = ", ".join(named) or "no config is installed"
            raise argparse.ArgumentTypeError(f"{word!r} is neither a file nor a name of configs/{folder}: {names}")
        return path

    return find


class ChosenByName(Generic[S]):
    """Marks a field whose model is looked up by ``name``: ``Annotated[Base, ChosenByName(table)]``.

    Args:
        models: name → model; read at each validation, so what is added to it is known from then on.
    """

    def __init__(self, models: Mapping[str, type[S]]) -> None:
        self.models = models

    def read(self, value: object) -> S:
        """The settings that ``value`` is: settings of the table as they are, or a mapping with ``name``.

        Raises:
            ValueError: there is no such name, or the values are not those of its model.
        """
        for model in self.models.values():
            if isinstance(value, model):
                return value
        name = value.get("name") if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name not in self.models:
            raise ValueError(f"name must be one of {', '.join(self.models)}{f', not {name}' if name else ''}")
        return self.models[name].model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Validation by the model of that name, dumped as it is."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.simple_ser_schema("any")
        )


def load(
    model: type[S], path: Path | None, overrides: Sequence[str] = (), *, base: Mapping[str, Any] | None = None
) -> S:
    """Read ``path`` (``base`` or defaults only when None), apply ``key.sub=value`` overrides and validate.

    Raises:
        SettingsError: missing or malformed file, unknown key (with the nearest valid one), or a value out of range.
    """
    values = _read_yaml(path) if path is not None else copy.deepcopy(dict(base or {}))
    for override in overrides:
        _apply(values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(model, error, path)) from None


def digest(settings: BaseModel) -> str:
    """SHA-256 (hex) of the settings as canonical JSON: equal settings, equal digest."""
    return hashlib.sha256(json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"config {path} does not exist; give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"config {path} is not valid YAML: {error}") from None
    except OSError as error:
        raise SettingsError(f"config {path} cannot be read: {error.strerror}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"config {path} must be a mapping of keys to values")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise SettingsError(f"{override!r} is not a setting; write key=value or key.sub=value")
    *groups, last = name.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{name}: {group} is a value, not a group of settings")
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise SettingsError(f"{name}: {text!r} is not a valid YAML value") from None


def _explain(model: type[BaseModel], error: ValidationError, path: Path | None) -> str:
    where = f" in {path}" if path is not None else ""
    names = _names(model)
    lines = []
    for problem in error.errors():
        name = _written(problem["loc"], names)
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown setting {name!r}{where}{_nearest(name, names)}")
        elif problem["type"] == "missing":
            lines.append(f"setting {name!r}{where} is required; add it to the file or give {name}=…")
        else:
            lines.append(f"setting {name!r}{where}: {problem['msg']} (got {_short(problem['input'])})")
    return "; ".join(lines)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _written(location: tuple[int | str, ...], names: list[str]) -> str:
    """The name as a user writes it, without the tag that chose among several models."""
    parts = [str(part) for part in location]
    groups = {name.rsplit(".", 1)[0] for name in names if "." in name}
    if len(parts) > 2 and parts[0] in groups and f"{parts[0]}.{parts[1]}" not in {*groups, *names}:
        parts.pop(1)
    return ".".join(parts)


def _nearest(wanted: str, names: list[str]) -> str:
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    if not close:  # right word, wrong group
        close = [name for name in names if name.rsplit(".", 1)[-1] == wanted.rsplit(".", 1)[-1]][:1]
    return f"; did you mean {close[0]!r}?" if close else f"; valid settings: {', '.join(sorted(names))}"


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names: dict[str, None] = {}
    for name, field in model.model_fields.items():
        groups = [part for part in (field.annotation, *get_args(field.annotation)) if _is_group(part)]
        groups += [model for mark in field.metadata if isinstance(mark, ChosenByName) for model in mark.models.values()]
        for group in groups:
            names |= dict.fromkeys(_names(group, f"{prefix}{name}."))
        if not groups:
            names[prefix + name] = None
    return list(names)


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
