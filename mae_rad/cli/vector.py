"""Show or choose the vector of a film that an encoder gives.

    mae-rad vector RUN ["mean+deviation of blocks 3 6 9 12 and 2 x 2 regions"]

RUN is a run folder or an encoder folder. The choice is written into the encoder's card; embed, compare, the Python API
and models that are registered in MLflow from then on follow it. Weights are not changed, nor are copies and exports
that were made before. Measure which vector to choose with: mae-rad compare RUN --config sweep
"""

from collections.abc import Sequence
from pathlib import Path

from data_prep.cli.command_help import CommandParser
from mae_rad.cli.command_parser import command_parser
from mae_rad.command_line import run


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = command_parser("vector", __doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, or exported encoder")
    parser.add_argument(
        "pooling", nargs="*", metavar="POOLING", help="pooling that becomes the film vector (default: show it only)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, write the choice and print the card's vector; returns the exit code."""
    options = build_parser().parse_args(arguments)

    def action() -> None:
        from mae_rad.export.chosen_vector import choose_vector
        from mae_rad.export.encoder_folder import read_card
        from mae_rad.export.encoder_with_decoder_folder import encoder_folder

        folder = encoder_folder(options.run)
        card = choose_vector(folder, " ".join(options.pooling)) if options.pooling else read_card(folder)
        print(f"film vector of {folder}: {card.encoder.film_vector}, {card.vector_width} numbers")

    return run(action)
