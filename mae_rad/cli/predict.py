"""Ask a trained predictor of films.

    mae-rad predict MODEL FILES… out=PRIVATE [key=value …]

MODEL is the folder of a finetuning run, or its predictor folder; FILES are DICOM, PNG or JPEG films, or folders of
them; a word that names a file is one, whatever it reads like. Tables, pictures and DICOM Structured Reports are written
into the folder PRIVATE, which only you can read: it names the files. The same command goes on where it was. Exit code
3: some films have no answer; the tables say why.

For research. Not a medical device.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.settings import load
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run

_SETTING = re.compile(r"[a-z_][a-z0-9_.]*=.*", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, predict and print what became of the films; returns the exit code."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a finetuning run, or a predictor folder")
    parser.add_argument("words", nargs="+", metavar="FILES|key=value", help="films or folders; out is required")
    options = parser.parse_intermixed_args(arguments)
    overrides = [word for word in options.words if _is_setting(word)]
    files = [Path(word) for word in options.words if word not in overrides]

    def action() -> int:
        from mae_rad.prediction.settings import PredictSettings

        settings = load(PredictSettings, None, overrides)
        from mae_rad.prediction.predict import predict

        summary = predict(options.model, files, settings)
        print(summary.text)
        return summary.exit_code

    return run(action)


def _is_setting(word: str) -> bool:
    return _SETTING.fullmatch(word) is not None and not os.path.exists(word)  # noqa: PTH110 - no error if it is too long
