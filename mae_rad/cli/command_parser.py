"""The argument parser of a command."""

import argparse

from data_prep.cli.command_help import CommandParser
from data_prep.settings import config_file, config_names

SETTINGS = {
    "pretrain": "mae_rad.pretraining.settings:PretrainSettings",
    "finetune": "mae_rad.finetuning.task.settings:FinetuneSettings",
    "compare": "mae_rad.evaluation.comparison.settings:CompareSettings",
}
"""Command → ``module:class`` of the settings that it reads from a YAML file."""


def command_parser(name: str, description: str | None, settings: str | None = None) -> CommandParser:
    """Build the parser of ``mae-rad name``.

    Args:
        name: command name, as in ``compare-heads``.
        description: text of ``--help``; indented lines are printed as they are.
        settings: ``module:class`` of its settings, which ``--help`` lists (default: none).
    """
    return CommandParser(prog=f"mae-rad {name}", description=description, settings=settings)


def add_config(parser: argparse.ArgumentParser, *folders: str, option: str = "--config", default: str = "") -> None:
    """Add an option that takes a config by name or file.

    Args:
        parser: parser of the command.
        folders: folders of the named configs under ``configs``.
        option: name of the option.
        default: name of the config without the option; empty where the option is required.
    """
    places = " or ".join(f"configs/{folder}" for folder in folders)
    text = f"YAML settings: a name or a file as in {places}" + (f" (default: {default})" if default else "")
    action = parser.add_argument(
        option, type=config_file(*folders), required=not default, default=default, metavar="NAME|FILE", help=text
    )
    action.completer = lambda **_: [name for folder in folders for name in config_names(folder)]  # type: ignore[attr-defined] # read by argcomplete
