"""``mae_rad.load_encoder``: embed film files with a trained encoder."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import Reason
from data_prep.folder_url import local_path
from data_prep.sharding.single_film import PreparationSettings
from mae_rad.api.film_files import Films, read_films
from mae_rad.data.views import stack
from mae_rad.embedding.film_vector import film_vectors, vector_settings, vector_width
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.encoders.precision import fast_device
from mae_rad.errors import EvaluationError
from mae_rad.export import encoder_folder
from mae_rad.export.encoder_card import EncoderCard
from mae_rad.export.encoder_with_decoder_folder import encoder_folder as find_encoder_folder
from mae_rad.prediction.film_reader import FilmFileReader


class FilmEncoder:
    """A trained encoder that embeds film files.

    Attributes:
        encoder: the model in evaluation mode, on a GPU where there is one.
        card: contents of ``encoder.json``.
    """

    def __init__(self, encoder: Encoder, card: EncoderCard) -> None:
        self._device = fast_device()
        self.encoder, self.card = encoder.to(self._device).eval(), card

    def __repr__(self) -> str:
        tokens, width = self.card.preprocessing.tokens, self.card.vector_width
        return f"FilmEncoder({self.card.encoder.model}, T={tokens}, {width} numbers per film)"

    def embed(self, films: Films) -> NDArray[np.float32]:
        """Embed films with the tokens T, pooling and precision that the card states.

        Args:
            films: paths of DICOM, PNG or JPEG files; a folder stands for its files, ordered by name. Files are decoded
                with the default settings of ``mae-rad shard``, at full size for an encoder of a fixed scale. Or arrays
                [rows, columns] of display values, dark to bright: uint8, uint16, or float in [0, 1].

        Returns:
            [N, W] float32, one row per film in the order given; a file with several frames has a row per frame.

        Raises:
            ArchiveError: a path does not exist.
            EvaluationError: a file or array holds no film, or one that sharding would reject.
        """
        settings = vector_settings(self.card)
        preparation = PreparationSettings(max_side="native" if settings.scale.is_fixed else 1536)
        reader = FilmFileReader(preparation, settings.tokens, self.card.preprocessing.patch, settings.scale)
        vectors, place, last = [], 0, None
        for given, file, read in read_films(films, reader):
            place, last = place + 1 if given is last else 1, given
            if isinstance(read, Reason):  # names of files in a folder may identify a patient
                name = str(given) if isinstance(given, str | Path) else file.path
                if isinstance(given, str | Path) and Path(given).is_dir():
                    name = f"file {place} of {given}, ordered by name,"
                raise EvaluationError(f"{name} holds no film that can be embedded: {read}. Leave it out.")
            for film in read:
                patches = stack([film.patches]).to(self._device)
                vector = film_vectors(self.encoder, patches, settings.pool, settings.precision)[0]
                vectors.append(vector.cpu().numpy())
        return np.stack(vectors) if vectors else np.empty((0, vector_width(self.encoder, settings.pool)), np.float32)


def load_encoder(folder: str | Path) -> FilmEncoder:
    """Load a trained encoder.

    Args:
        folder: folder of a pretraining run, or encoder folder.

    Raises:
        WeightsError: the folder holds no encoder, or one that is damaged or of another version.
    """
    return FilmEncoder(*encoder_folder.load_encoder(find_encoder_folder(local_path(folder))))
