"""What README, CONTRIBUTING and docs name is there: files, commands, options, benchmarks and settings."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from data_prep.settings import Settings, config_file, load
from docs.reference_pages import SETTINGS, Group, help_texts, setting_groups
from mae_rad.cli.bench import FOLDER
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.pretraining.settings import PretrainSettings
from mae_rad.sweep.trial_plan import is_finetuning

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs" / "reference" / "generated"
SITE = [page for page in sorted((ROOT / "docs").rglob("*.md")) if GENERATED not in page.parents]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *SITE]
BENCHMARKS = {path.stem: path for path in FOLDER.rglob("*.py")}
MODELS: dict[str, type[Settings]] = {**SETTINGS, "cost": PretrainSettings, "sweep": PretrainSettings}
CONFIGS = {"cost": ("pretrain",), "sweep": ("pretrain", "finetune"), "scan": ("data_prep",), "shard": ("data_prep",),
           "submit": ("data_prep",), "label": ("data_prep",)}  # fmt: skip
DEFAULT_CONFIGS = {"pretrain": "mae", "finetune": "foreign_object", "compare": "default"}
ELIDED = {"embed": ["shards=S", "out=O"], "compare": ["shards=S", "out=O"], "predict": ["out=O"], "export": ["out=O"]}
"""Settings that stand for ``…`` in a shown command."""


class Command(NamedTuple):
    """A command of ``mae-rad`` as a page shows it, by whichever launcher."""

    name: str
    words: list[str]

    @property
    def settings(self) -> list[str]:
        options = list(zip(self.words, self.words[1:], strict=False))
        arms = [word for flag, word in options if flag in {"--arm", "--over"}]
        words = [word for word in self.words if word not in arms]
        words += [
            re.sub(r"=(log|uniform|int):([^:]+):.*", r"=\2", part.partition(",")[0])
            for arm in arms
            for part in arm.split()
        ]
        return [word for word in words if re.match(r"[a-z_]+(\.[a-z_]+)*=", word)]

    @property
    def config(self) -> Path | None:
        folders = CONFIGS.get(self.name, (self.name,))
        given = [word for flag, word in zip(self.words, self.words[1:], strict=False) if flag == "--config"]
        name = given[0] if given and given[0] != "…" else DEFAULT_CONFIGS.get(folders[0])
        return ROOT / config_file(*folders)(name) if name else None


def _commands(page: Path) -> list[list[str]]:
    """The commands of the page's shell blocks, as words; comments and continued lines are joined away."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(words)
    return found


def _commands_of_mae_rad(page: Path) -> Iterator[Command]:
    """Commands that start with ``mae-rad``, or run a file of ``launch`` through python or a launcher."""
    for line in _commands(page):
        words = [word for word in line if not re.match(r"[A-Z_]+=", word)]
        if words and words[0] == "mae-rad":
            yield Command(words[1], words[2:])
        for place, word in enumerate(words):
            if found := re.fullmatch(r"launch/(?:slurm/)?(\w+)\.(py|sh)", word):
                chosen = [one.partition("=")[2] for one in line if one.startswith("MAE_RAD_COMMAND=")]
                yield Command((chosen or [found[1].replace("_", "-")])[0], words[place + 1 :])


_help_texts = cache(help_texts)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:data_prep|mae_rad|launch|configs|docs|tests|docker)/[\w./-]+)`", text))
    named |= {
        match for words in _commands(page) for match in words if re.match(r"(launch|configs|docs)/\S+\.\w+$", match)
    }
    missing = sorted(name for name in named if not (ROOT / name).exists())
    links = [link for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text) if "generated/" not in link]
    missing += sorted(target for target in links if not (page.parent / target).exists())
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command in _commands_of_mae_rad(page):
        assert command.name in _help_texts(), command
    for name in re.findall(r"mae-rad bench (\w+)", text):
        assert name in BENCHMARKS, name
    for name in re.findall(r"`(?:mae-rad|python -m data_prep) ([a-z][a-z-]*)", text):
        assert name in _help_texts(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_options_of_shown_commands_exist(page: Path) -> None:
    for command in _commands_of_mae_rad(page):
        for option in re.findall(r"(?<!\S)--[a-z_-]+", shlex.join(command.words)):
            if command.name == "bench":
                assert f'"{option}"' in BENCHMARKS[command.words[0]].read_text(encoding="utf-8"), (command, option)
            else:
                assert re.search(rf"{option}\b", _help_texts()[command.name]), (command, option)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_settings_of_shown_commands_are_known_and_valid(page: Path) -> None:
    for command in _commands_of_mae_rad(page):
        if command.name in MODELS:
            elided = ELIDED.get(command.name, []) if {"…", "[key=value"} & set(command.words) else []
            config = command.config
            is_search = command.name == "sweep" and config is not None and is_finetuning(config, [])
            load(FinetuneSettings if is_search else MODELS[command.name], config, [*elided, *command.settings])


@pytest.mark.parametrize("command", SETTINGS)
def test_the_reference_explains_every_setting(command: str) -> None:
    groups: list[Group] = list(setting_groups(SETTINGS[command]))
    unexplained = [setting.name for group in groups for setting in group.settings if not setting.meaning]
    assert groups
    assert not unexplained


def test_the_reference_states_values_defaults_and_choices() -> None:
    groups = {
        group.title: {setting.name: setting for setting in group.settings} for group in setting_groups(PretrainSettings)
    }
    batch, rate = groups["optimizer"]["optimizer.batch"], groups["optimizer"]["optimizer.base_learning_rate"]
    assert (batch.values, batch.default, batch.meaning) == (
        "integer ≥ 1",
        None,
        "Films per optimiser step over all ranks.",
    )
    assert (rate.values, rate.default) == ("number > 0", "0.00015")
    assert groups["objective with `name: simclr`"]["objective.temperature"]
    [side] = [one for group in setting_groups(SETTINGS["shard"]) for one in group.settings if one.name == "max_side"]
    assert side.meaning.startswith("Longest side of a film in pixels")


@pytest.mark.parametrize("command", SETTINGS)
def test_the_page_of_settings_leads_to_those_of_every_command(command: str) -> None:
    assert f"generated/settings_{command}>" in (ROOT / "docs" / "reference" / "settings.md").read_text()
