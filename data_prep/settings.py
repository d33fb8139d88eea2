"""Strict settings: one YAML file plus ``key.sub=value``, unknown keys fail and name the nearest valid one."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from data_prep.errors import SettingsError


class Settings(BaseModel):
    """A closed, frozen group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


S = TypeVar("S", bound=Settings)


def load(model: type[S], path: Path | None, overrides: Sequence[str] = ()) -> S:
    """Read ``path`` (defaults only when None), apply ``key.sub=value`` overrides and validate.

    Raises:
        SettingsError: missing or malformed file, unknown key (with the nearest valid one), or a value out of range.
    """
    values = _read_yaml(path) if path is not None else {}
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
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown setting {name!r}{where}{_nearest(model, problem['loc'])}")
        else:
            lines.append(f"setting {name!r}{where}: {problem['msg']} (got {problem['input']!r})")
    return "; ".join(lines)


def _nearest(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    names = list(_names(model))
    wanted = ".".join(str(part) for part in location)
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    if not close:  # right word, wrong group
        close = [name for name in names if name.rsplit(".", 1)[-1] == str(location[-1])][:1]
    return f"; did you mean {close[0]!r}?" if close else f"; valid settings: {', '.join(sorted(names))}"


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _names(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
