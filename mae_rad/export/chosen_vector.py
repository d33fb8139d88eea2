"""Choose the film vector of an encoder folder: its card states it, and every use of the encoder follows the card."""

from pathlib import Path

from data_prep.runtime.atomic_write import atomic_text
from mae_rad.encoders.pooling_name import check_blocks, parse_pooling
from mae_rad.errors import WeightsError
from mae_rad.export.encoder_card import EncoderCard, encoder_readme
from mae_rad.export.encoder_folder import CARD, read_card


def choose_vector(folder: Path, pool: str) -> EncoderCard:
    """Write a pooling into the card of an encoder folder as its film vector; weights are not changed.

    Args:
        folder: encoder folder.
        pool: name of the pooling, see :mod:`mae_rad.encoders.pooling_name`.

    Returns:
        The card that was written.

    Raises:
        WeightsError: the folder holds no encoder or cannot be written, or the pooling is not one of this encoder.
    """
    card = read_card(folder)
    try:
        name = parse_pooling(pool).name
        check_blocks(name, card.encoder.shape.depth)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    vector = None if name == card.encoder.pool else name
    chosen = card.model_copy(update={"encoder": card.encoder.model_copy(update={"vector": vector})})
    try:
        atomic_text(folder / "README.md", encoder_readme(chosen))
        atomic_text(folder / CARD, chosen.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise WeightsError(
            f"{folder} cannot be written ({error.strerror}). Make it writable and run the same command again."
        ) from error
    return chosen
