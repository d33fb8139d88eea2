"""Strict settings from a YAML file and ``key.sub=value`` overrides; an unknown key is an error with a suggestion."""

import argparse
import copy
import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from data_prep.bounded_reading import MAX_YAML_BYTES, parse_yaml, read_bounded
from data_prep.errors import SettingsError
from data_prep.folder_url import FolderUrl, PublicFolder, is_url, local_path, public_folder, shown, url_problem

_log = logging.getLogger(__name__)


class Settings(BaseModel):
    """An immutable group of settings that refuses unknown keys.

    Attributes:
        renamed: former name → current name; a former name is accepted, and a note is logged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, values: Any) -> Any:
        former_names = [name for name in cls.renamed if isinstance(values, dict) and name in values]
        if not former_names:
            return values
        values = dict(values)
        for former in former_names:
            current = cls.renamed[former]
            if current in values:
                raise ValueError(f"{former} is the former name of {current}; give the setting once")
            _log.info("setting %s is now called %s", former, current)
            values[current] = values.pop(former)
        return values

    @model_validator(mode="after")
    def _refuse_urls(self) -> Self:
        for name, value in self:
            paths = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            for path in paths:
                if isinstance(path, Path) and is_url(path):
                    raise SettingsError(f"{name}: {url_problem(path)}")
        return self


def _folder(value: object) -> PublicFolder:
    if isinstance(value, str | Path | FolderUrl):
        return public_folder(value)
    raise ValueError("give the path or URL of a public folder")


Folders = Annotated[
    list[Annotated[PublicFolder, PlainValidator(_folder)]],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else [value]),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "path"},
                {"type": "array", "items": {"type": "string", "format": "path"}},
            ]
        }
    ),
]
"""One public folder, or a list of them, on this machine or in object storage; always a list after validation."""

S = TypeVar("S", bound=Settings)
T = TypeVar("T")

_CONFIGS = Path(__file__).parents[1] / "mae_rad" / "configs"
"""Folder of the shipped configs, in a checkout and in an installed package."""


def config_names(folder: str) -> list[str]:
    """Names of the shipped configs of a subfolder of ``configs``."""
    return [path.stem for path in sorted((_CONFIGS / folder).glob("*.yaml"))]


def config_file(*folders: str) -> Callable[[str], Path]:
    """Make the argparse type of ``--config NAME|FILE``.

    Args:
        folders: subfolders of ``configs`` that hold the named configs, the first one first.

    Returns:
        A function that converts the name of a config, without suffix, or a path to a path. It raises
        ``ArgumentTypeError`` if the argument is neither.
    """

    def find_config(name_or_path: str) -> Path:
        local_argument(name_or_path)
        configs = {path.stem: path for one in reversed(folders) for path in sorted((_CONFIGS / one).glob("*.yaml"))}
        path = configs.get(name_or_path, Path(name_or_path))
        if path.name == name_or_path and not path.suffix and not path.exists():
            names = ", ".join(configs) or "no config is installed"
            raise argparse.ArgumentTypeError(
                f"{name_or_path!r} is neither a file nor a name of {' or '.join(f'configs/{one}' for one in folders)}:"
                f" {names}"
            )
        return path

    return find_config


def local_argument(text: str) -> Path:
    """The argparse type of a path on this machine; ``parser.register("type", Path, local_argument)`` refuses URLs.

    Raises:
        ArgumentTypeError: the argument is a URL.
    """
    return _argument(local_path, text)


def folder_argument(text: str) -> PublicFolder:
    """The argparse type of a public folder that is read, on this machine or in object storage.

    Raises:
        ArgumentTypeError: the argument is a URL that cannot be read.
    """
    return _argument(public_folder, text)


def _argument(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class ChosenByName(Generic[S]):
    """Marks a field whose model is selected by its key ``name``: ``Annotated[Base, ChosenByName(models)]``.

    Args:
        models: name → model; read at each validation, so that entries can be added later.
        name_of: name that a mapping of settings selects (default: the value of its key ``name``).
    """

    def __init__(
        self,
        models: Mapping[str, type[S]],
        name_of: Callable[[Mapping[str, Any]], object] = lambda values: values.get("name"),
    ) -> None:
        self.models, self._name_of = models, name_of

    def read(self, value: object) -> S:
        """Validate a value.

        Args:
            value: an instance of one of the models, or a mapping with the key ``name``.

        Returns:
            An instance of the selected model.

        Raises:
            ValueError: the name is absent or unknown, or the values are not valid for its model.
        """
        for model in self.models.values():
            if isinstance(value, model):
                return value
        name = self._name_of(value) if isinstance(value, Mapping) else None
        if not isinstance(name, str) or name not in self.models:
            raise ValueError(f"name must be one of {', '.join(self.models)}{f', not {name}' if name else ''}")
        return self.models[name].model_validate(value)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        """JSON schema: that of any of the models."""
        del schema
        return {"anyOf": [handler(model.__pydantic_core_schema__) for model in self.models.values()]}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Schema that validates with :meth:`read` and serializes the instance by its own model."""
        del source, handler
        return core_schema.no_info_plain_validator_function(
            self.read, serialization=core_schema.simple_ser_schema("any")
        )


def load(
    model: type[S], path: Path | None, overrides: Sequence[str] = (), *, base: Mapping[str, Any] | None = None
) -> S:
    """Read a YAML file, apply overrides and validate.

    Args:
        model: settings class.
        path: YAML file; None to start from ``base``.
        overrides: ``key.sub=value``, applied in order; values are YAML.
        base: values to start from where ``path`` is None (default: none, so that the model's defaults apply).

    Raises:
        SettingsError: the file is missing or malformed, a key is unknown, or a value is not valid.
    """
    values = _read_yaml(path) if path is not None else copy.deepcopy(dict(base or {}))
    for override in overrides:
        _apply(model, values, override)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(model, error, path)) from None


def digest(settings: BaseModel) -> str:
    """SHA-256, 64 hexadecimal digits, of the settings as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(settings.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(read_bounded(path, MAX_YAML_BYTES).decode())
    except FileNotFoundError:
        raise SettingsError(f"config {path} does not exist; give the path of a YAML file") from None
    except ValueError as error:
        raise SettingsError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise SettingsError(
            f"config {path} cannot be read: {error.strerror}; check the path and its permissions"
        ) from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"config {path} is not a mapping; write one key: value per line")
    return values


def _apply(model: type[BaseModel], values: dict[str, Any], override: str) -> None:
    """Set one value; it replaces that of the file, also where one of them uses the former name of the setting."""
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise SettingsError(f"{override!r} is not a setting; write key=value or key.sub=value")
    *groups, last = name.split(".")
    models: list[type[BaseModel]] = [model]
    for group in groups:
        fields = [one.model_fields[group] for one in models if group in one.model_fields]
        models = [inner for field in fields for inner in setting_groups(field)]
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{name}: {group} is a value, not a group of settings")
        values = inner
    for pair in (pair for one in models for pair in getattr(one, "renamed", {}).items()):
        if last in pair:
            for name_of_setting in pair:
                values.pop(name_of_setting, None)
    try:
        values[last] = parse_yaml(text)
    except ValueError:
        raise SettingsError(f"{name}: {_shortened(text)} is not a valid YAML value") from None


def _explain(model: type[BaseModel], error: ValidationError, path: Path | None) -> str:
    in_file = f" in {path}" if path is not None else ""
    names = _setting_names(model)
    lines = []
    for problem in error.errors():
        name = _dotted_name(problem["loc"], names)
        if problem["type"] == "extra_forbidden":
            groups = {setting.rsplit(".", 1)[0] for setting in names if "." in setting}
            lines.append(f"unknown setting {name!r}{in_file}{_suggestion(name, [*names, *sorted(groups)])}")
        elif problem["type"] == "missing":
            lines.append(f"setting {name!r}{in_file} is required; add it to the file or give {name}=…")
        else:
            lines.append(f"setting {name!r}{in_file}: {problem['msg']} (got {_shortened(problem['input'])})")
    return "; ".join(lines)


def _shortened(value: object) -> str:
    text = shown(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _dotted_name(location: tuple[int | str, ...], names: list[str]) -> str:
    """Name of a setting as a user writes it, without the tag that pydantic adds for one of several models."""
    parts = [str(part) for part in location]
    groups = {name.rsplit(".", 1)[0] for name in names if "." in name}
    if len(parts) > 2 and parts[0] in groups and f"{parts[0]}.{parts[1]}" not in {*groups, *names}:
        parts.pop(1)
    return ".".join(parts)


def _suggestion(unknown: str, names: list[str]) -> str:
    close = difflib.get_close_matches(unknown, names, n=1, cutoff=0.5)
    if not close:  # the right name in the wrong group
        close = [name for name in names if name.rsplit(".", 1)[-1] == unknown.rsplit(".", 1)[-1]][:1]
    return f"; did you mean {close[0]!r}?" if close else f"; valid settings: {', '.join(sorted(names))}"


def _setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings of a model and of its groups."""
    names: dict[str, None] = {}
    for name, field in model.model_fields.items():
        groups = setting_groups(field)
        for group in groups:
            names |= dict.fromkeys(_setting_names(group, f"{prefix}{name}."))
        if not groups:
            names[prefix + name] = None
    return list(names)


def setting_groups(field: FieldInfo) -> list[type[BaseModel]]:
    """List the models of which the value of a field may be, or the items of its list: none for a plain value.

    Args:
        field: of a model of settings or of a record.
    """
    parts = (field.annotation, *get_args(field.annotation))
    marks = (mark for part in parts for mark in getattr(part, "__metadata__", ()))
    chosen = [mark for mark in (*field.metadata, *marks) if isinstance(mark, ChosenByName)]
    groups = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    return groups + [model for mark in chosen for model in mark.models.values()]
