"""The generated pages of the reference: commands with their help, settings with their meaning, modules by docstrings.

Nothing here is typed by hand: options come from the parsers, settings from the pydantic models and the texts below
their fields, the Python pages from the packages that are there.
"""

import contextlib
import importlib
import inspect
import io
import os
import pkgutil
import re
import types
from collections import Counter, abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from data_prep.cli.parser import build_parser
from data_prep.dataset_report.plain_words import KINDS, PROVENANCE, REASONS
from data_prep.errors import DROP_REASONS
from data_prep.labels.settings import LabelSettings
from data_prep.planning.settings import ShardSettings, SubmitSettings
from data_prep.scan.settings import ScanSettings
from data_prep.settings import ChosenByName, Settings
from mae_rad.cli.compare_heads import CompareHeadsSettings
from mae_rad.cli.export import ExportSettings
from mae_rad.cli.main import COMMANDS
from mae_rad.embedding.settings import EmbedSettings
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.prediction.settings import PredictSettings
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.suspects.corrections import CorrectionsSettings
from mae_rad.suspects.settings import SuspectsSettings

SETTINGS: dict[str, type[Settings]] = {
    "scan": ScanSettings,
    "shard": ShardSettings,
    "submit": SubmitSettings,
    "label": LabelSettings,
    "pretrain": PretrainSettings,
    "embed": EmbedSettings,
    "compare": CompareSettings,
    "finetune": FinetuneSettings,
    "compare-heads": CompareHeadsSettings,
    "suspects": SuspectsSettings,
    "corrections": CorrectionsSettings,
    "predict": PredictSettings,
    "export": ExportSettings,
}
"""Command → model of its settings."""

PACKAGES = {
    "mae_rad.api": "Python functions",
    "mae_rad.losses": "Losses",
    "mae_rad.objectives": "Objectives",
    "mae_rad.encoders": "Encoders",
    "mae_rad.heads": "Heads",
    "mae_rad.data": "From shards to batches",
    "mae_rad.embedding": "From films to vectors",
    "mae_rad.evaluation.statistics": "Metrics and intervals",
    "data_prep.shard_format": "Shards: reading and writing",
    "data_prep.film": "One film as pixels",
}
"""Packages whose docstrings are pages, with the title of the page."""


SCALARS = {int: "integer", float: "number", str: "text", bool: "`true` or `false`", Path: "path"}
"""Type → its values in words."""


MAX_KINDS = 3
"""Kinds of values that are listed; with more, any value is taken."""


class Setting(NamedTuple):
    """A setting as the reference shows it.

    Attributes:
        name: dotted name, as in ``key.sub=value``.
        values: admissible values, in words.
        default: as in YAML; None if the setting is required.
        meaning: text, Markdown.
    """

    name: str
    values: str
    default: str | None
    meaning: str


class Group(NamedTuple):
    """Settings under one name, in the order of the model.

    Attributes:
        title: dotted name of the group, with the variant; empty for the top level.
        about: first paragraph of the model's docstring.
        settings: its settings, without those of inner groups.
    """

    title: str
    about: str
    settings: list[Setting]


def write_reference_pages(folder: Path) -> None:
    """Write all generated pages into ``folder/generated``; a page that did not change is not touched.

    Args:
        folder: ``docs/reference``.
    """
    out = folder / "generated"
    out.mkdir(parents=True, exist_ok=True)
    pages = {"commands.md": commands_page(), "configs.md": configs_page(), "reasons.md": reasons_page()}
    pages |= {f"settings_{name}.md": settings_page(name, model) for name, model in SETTINGS.items()}
    pages |= {f"python_{name.replace('.', '_')}.md": python_page(name, title) for name, title in PACKAGES.items()}
    for name, text in pages.items():
        if not (out / name).exists() or (out / name).read_text(encoding="utf-8") != text:
            (out / name).write_text(text, encoding="utf-8")
    for path in out.glob("*.md"):
        if path.name not in pages:
            path.unlink()


def help_texts() -> dict[str, str]:
    """Command of ``mae-rad`` → its ``--help``."""
    os.environ["COLUMNS"] = "90"
    choices = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    texts = {str(name): parser.format_help() for name, parser in dict(choices).items()}  # type: ignore[arg-type]
    texts |= {name: _help_of(name) for name in COMMANDS}
    return {name: text.strip().replace("python -m data_prep", "mae-rad") for name, text in texts.items()}


def commands_page() -> str:
    """Page with the ``--help`` of every command of ``mae-rad``."""
    texts = {name: text.partition("\nsettings, as ")[0].rstrip() for name, text in help_texts().items()}
    blocks = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in texts.items()]
    lead = "Text of `mae-rad COMMAND --help`. What each setting means: [settings](../settings.md).\n"
    return "\n".join(["# Commands\n", lead, *blocks])


def configs_page() -> str:
    """Page with every file of ``configs``: what it is for is said at its head."""
    folder = Path(__file__).parents[1] / "configs"
    lines = ["# Configs", "", "Ready files, by name (`--config mae`) or as a start for a file of your own.", ""]
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8").strip()
        lines += [f"## {path.relative_to(folder).with_suffix('')}", "", "```yaml", text, "```", ""]
    return "\n".join(lines)


def reasons_page() -> str:
    """Page with every reason for which a file is not among the films, and every note on how a film was read."""
    lead = "The column `reason` of `rejects.parquet`, as `scan`, `shard` and `report` count it."
    lines = ["# Reasons", "", f"{lead} Dropped are {', '.join(f'`{reason}`' for reason in sorted(DROP_REASONS))}.", ""]
    for kind, texts in KINDS.items():
        lines += [f"## {texts['name'].capitalize()}", "", texts["meaning"], "", "| reason | meaning |", "|---|---|"]
        found = {reason: words for reason, words in sorted(REASONS.items()) if words.kind is kind}
        lines += [*(f"| `{reason}` | {words.name}: {words.meaning} |" for reason, words in found.items()), ""]
    lead = "The column `provenance` of `index.parquet`: what had to be done to read a film that is there."
    lines += ["## Read all the same", "", lead, "", "| note | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{note}` | {text} |" for note, text in sorted(PROVENANCE.items())), ""])


def settings_page(command: str, model: type[Settings]) -> str:
    """Page with every setting of a command; each can be linked to, as ``#command-name``.

    Args:
        command: name, as in ``mae-rad command``.
        model: its settings.
    """
    lead = "In a YAML file, or as `key.sub=value` after the command; one without a default is required."
    lines = [f"# Settings of {command}", "", f"{_markdown(_summary(model))} {lead}", ""]
    anchors: Counter[str] = Counter()  # models that are chosen by name have settings of one name
    for group in setting_groups(model):
        if group.title:
            lines += [f"## {group.title}", "", _markdown(group.about), ""]
        for setting in group.settings:
            default = "required" if setting.default is None else f"default `{setting.default}`"
            anchor = re.sub(r"[^a-z0-9]+", "-", f"{command}-{setting.name}".lower()).strip("-")
            anchors[anchor] += 1
            anchor += f"-{anchors[anchor]}" if anchors[anchor] > 1 else ""
            lines += [f"`{setting.name}`{{#{anchor}}} {setting.values} · {default}", f": {setting.meaning}", ""]
    return "\n".join(lines)


def python_page(package: str, title: str) -> str:
    """Page with the documented classes and functions of a package and its modules.

    Args:
        package: dotted name.
        title: heading of the page.
    """
    found = importlib.import_module(package)
    names = [info.name for info in pkgutil.iter_modules(found.__path__, f"{package}.") if not info.ispkg]
    about = inspect.cleandoc(found.__doc__ or "").partition("\n")[0]
    blocks = [f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n" for name in names]
    return "\n".join([f"# {title}: {package}\n", f"{_markdown(about)}\n", *blocks])


def setting_groups(model: type[BaseModel], title: str = "", variant: str = "") -> Iterator[Group]:
    """Yield the settings of a model, then those of its groups.

    Args:
        model: settings.
        title: dotted name of the model's group.
        variant: for a model that is chosen by name, the setting that chooses it.

    Yields:
        Groups in the order of the fields; a group that is chosen by name once per choice.
    """
    own: list[Setting] = []
    inner: list[tuple[str, str, type[BaseModel]]] = []
    for name, field in model.model_fields.items():
        dotted = f"{title}.{name}" if title else name
        if choices := _choices(field):
            inner += [(dotted, choice, chosen) for choice, chosen in choices.items()]
        elif group := _group(field.annotation):
            inner.append((dotted, "", group))
        else:
            inner += [(f"{dotted}[]", "", item) for item in get_args(field.annotation) if _group(item)]
            own.append(
                Setting(
                    dotted,
                    _values(field.annotation, field.metadata),
                    _default(field),
                    _markdown(field.description or ""),
                )
            )
    heading = f"{title} with {variant}" if variant else title
    if own or heading:
        yield Group(heading, _summary(model), own)
    for dotted, choice, part in inner:
        yield from setting_groups(part, dotted, choice)


def _help_of(command: str) -> str:
    """``--help`` of a command of mae_rad."""
    module = importlib.import_module(f"mae_rad.cli.{command.replace('-', '_')}")
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module.main(["--help"])
    return text.getvalue()


def _summary(model: type[BaseModel]) -> str:
    """First paragraph of the docstring of a model."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split())


def _choices(field: FieldInfo) -> Mapping[str, type[BaseModel]]:
    """Setting that chooses → model, of a field that takes one of several models; else empty."""
    parts = [mark for part in get_args(field.annotation) for mark in getattr(part, "__metadata__", ())]
    for mark in (*field.metadata, *parts):
        if isinstance(mark, ChosenByName):
            return {_chosen_by(name, model): model for name, model in mark.models.items()}
    models = [part for part in get_args(field.annotation) if inspect.isclass(part) and issubclass(part, BaseModel)]
    if len(models) < 2:
        return {}
    return {_chosen_by(model.model_fields["name"].default, model): model for model in models}


def _chosen_by(name: str, model: type[BaseModel]) -> str:
    """The setting that chooses a model, Markdown: its name, or the field that only this model has."""
    return f"`name: {name}`" if "name" in model.model_fields else f"`{name}`"


def _group(annotation: Any) -> type[BaseModel] | None:
    """The one settings class of an annotation, alone or optional; else None."""
    parts = [part for part in (annotation, *get_args(annotation)) if inspect.isclass(part)]
    groups = [part for part in parts if issubclass(part, BaseModel)]
    return groups[0] if len(groups) == 1 and get_origin(annotation) in {None, Union, types.UnionType} else None


def _values(annotation: Any, metadata: list[Any]) -> str:
    """Admissible values of an annotation in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    text = "value"
    if hasattr(annotation, "__metadata__"):
        text = _values(annotation.__origin__, [*metadata, *annotation.__metadata__])
    elif origin is Literal:
        text = " or ".join(f"`{_yaml(part)}`" for part in parts)
    elif origin in {Union, types.UnionType}:
        kinds = dict.fromkeys(_values(part, metadata) for part in parts if part is not type(None))
        text = " or ".join(kinds) if len(kinds) <= MAX_KINDS else "value or list of values"
    elif origin in {list, tuple, set, frozenset}:
        text = "list of " + " and ".join(dict.fromkeys(_values(part, []) for part in parts if part is not ...))
    elif origin in {dict, abc.Mapping}:
        text = "mapping of " + " → ".join(_values(part, []) for part in parts)
    elif inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        text = "mapping: " + ", ".join(f"`{name}`" for name in annotation.model_fields)
    elif annotation in SCALARS:
        text = f"{SCALARS[annotation]}{_range(metadata)}"
    return text


def _range(metadata: list[Any]) -> str:
    """Bounds as in `` ≥ 1, < 10``."""
    signs = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
    found = [
        f"{signs[type(mark)][0]} {getattr(mark, signs[type(mark)][1])}" for mark in metadata if type(mark) in signs
    ]
    return f" {', '.join(found)}" if found else ""


def _default(field: FieldInfo) -> str | None:
    """Default as in YAML; None if the setting is required."""
    value = field.get_default(call_default_factory=True)
    return None if value is PydanticUndefined else _yaml(value)


def _yaml(value: Any) -> str:
    """A value as it is written in YAML on one line."""
    if isinstance(value, BaseModel):
        return _yaml({name: part for name, part in value if part != type(value).model_fields[name].default})
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_yaml(key)}: {_yaml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ", ".join(_yaml(part) for part in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _markdown(text: str) -> str:
    """Docstring text (reStructuredText) as Markdown: literals and roles as code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)
