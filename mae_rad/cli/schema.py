"""Print the JSON schema of a YAML file, by which editors complete and check settings.

    mae-rad schema pretrain > pretrain.schema.json

Editors with a YAML language server then need one line at the head of the config:

    # yaml-language-server: $schema=pretrain.schema.json
"""

import json
from collections.abc import Sequence
from importlib import import_module

from data_prep.cli.command_help import CommandParser
from data_prep.cli.parser import SETTINGS as DATA_PREP
from data_prep.settings_schema import json_schema
from mae_rad.cli.command_parser import SETTINGS, command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("schema", __doc__)
    parser.add_argument(
        "command", choices=sorted(DATA_PREP | SETTINGS), metavar="COMMAND", help="command that reads the file"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print the schema; returns the exit code."""
    options = build_parser().parse_args(arguments)

    def action() -> None:
        module, _, name = (DATA_PREP | SETTINGS)[options.command].partition(":")
        print(json.dumps(json_schema(getattr(import_module(module), name)), indent=1, ensure_ascii=False))

    return run(action)
