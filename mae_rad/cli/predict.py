"""Predict findings and boxes of film files with a finetuned model.

    mae-rad predict MODEL FILES… out=PRIVATE [key=value …]

MODEL is a finetuning run or a predictor folder; FILES are DICOM, PNG or JPEG films, or folders of them. An argument of
the form key=value is a setting, unless a file of that name exists. Tables, pictures and DICOM Structured Reports are
written into the folder PRIVATE, which names the input files and is readable by its owner only. The same command resumes
an interrupted one. Exit code 3: some films have no prediction; the tables give the reasons.

For research. Not a medical device.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from data_prep.folder_url import local_path
from data_prep.settings import load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run

_SETTING = re.compile(r"[a-z_][a-z0-9_.]*=.*", re.DOTALL)


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("predict", __doc__, "mae_rad.prediction.settings:PredictSettings")
    parser.add_argument("model", type=Path, metavar="MODEL", help="finetuning run, or predictor folder")
    parser.add_argument(
        "inputs", nargs="+", metavar="FILES|key=value", help="film files or folders, and settings; out is required"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, predict and print a summary; returns the exit code."""
    options = build_parser().parse_intermixed_args(arguments)
    overrides = [text for text in options.inputs if _is_setting(text)]

    def action() -> int:
        files = [local_path(text) for text in options.inputs if text not in overrides]
        from mae_rad.prediction.settings import PredictSettings

        settings = load(PredictSettings, None, overrides)
        from mae_rad.prediction.predict import predict

        summary = predict(options.model, files, settings)
        print(summary.text)
        return summary.exit_code

    return run(action)


def _is_setting(text: str) -> bool:
    return _SETTING.fullmatch(text) is not None and not os.path.exists(text)  # noqa: PTH110 - raises no error for a text that is too long for a path
