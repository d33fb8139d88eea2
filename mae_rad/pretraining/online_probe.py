"""Online probe: effective rank and nearest-neighbour accuracy of the embedding of validation films during training.

The class of a film is its body part and view, predicted from its nearest neighbours among films of other patients. No
probe is trained, and no labels other than these columns of the index are needed.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.batch import Patches
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import film_vectors
from mae_rad.embedding.nearest_neighbours import find_neighbours
from mae_rad.embedding.standardised_rows import Standardised, fit_scale, vectors_of_array
from mae_rad.embedding.vector_geometry import rank_me
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.errors import SettingsError
from mae_rad.pretraining.settings import PretrainSettings

NEIGHBOURS = 5
"""Number of nearest neighbours that vote."""
_FILMS_PER_BATCH = 32


class OnlineProbe:
    """Validation films, kept in memory as patches at the last T of the run.

    Attributes:
        classes: [films] int64 class of each film.
        patients: [films] int64 number of its patient.
        batches: (positions of films, their patches).
    """

    def __init__(
        self, classes: NDArray[np.int64], patients: NDArray[np.int64], batches: list[tuple[NDArray[np.int64], Patches]]
    ) -> None:
        self.classes, self.patients, self.batches = classes, patients, batches

    def read(self, encoder: Encoder, device: torch.device, precision: str) -> dict[str, float]:
        """Compute ``probe/rankme`` (effective rank) and ``probe/knn`` (balanced accuracy in [0, 1]).

        A collective call, since parameters may be partitioned.

        Args:
            encoder: encoder on ``device``; its training mode is restored.
            device: device of the encoder.
            precision: precision of the forward pass, f32 or bf16.

        Returns:
            Metric → value; empty if vectors are not finite.
        """
        vectors = self.vectors(encoder, device, precision)
        if not np.isfinite(vectors).all():
            return {}
        return {"probe/rankme": rank_me(vectors), "probe/knn": self.balanced_accuracy(vectors)}

    def vectors(self, encoder: Encoder, device: torch.device, precision: str) -> NDArray[np.float32]:
        """Embed the films with the pooling of the encoder.

        Args:
            encoder: encoder on ``device``; its training mode is restored.
            device: device of the encoder.
            precision: precision of the forward pass, f32 or bf16.

        Returns:
            [films, D] float32.
        """
        was_training = encoder.training
        encoder.eval()
        vectors = np.empty((len(self.classes), encoder.dim), dtype=np.float32)
        for places, patches in self.batches:
            vectors[places] = film_vectors(encoder, patches.to(device), precision=precision).cpu().numpy()
        encoder.train(was_training)
        return vectors

    def balanced_accuracy(self, vectors: NDArray[np.float32]) -> float:
        """Compute the balanced accuracy of the majority vote of the neighbours; the nearest one decides ties.

        Args:
            vectors: [films, D] float32.

        Returns:
            Mean over classes of the share of correct films, in [0, 1].
        """
        films = Standardised(vectors_of_array(vectors), fit_scale(vectors_of_array(vectors)), unit=True)
        place = find_neighbours(films, films, NEIGHBOURS, apart=(self.patients, self.patients)).place
        neighbours = np.where(place >= 0, self.classes[place], -1)
        numbers = range(self.classes.max() + 1)
        votes = np.stack([(neighbours == number).sum(axis=1) for number in numbers], axis=1).astype(float)
        votes[np.arange(len(neighbours)), neighbours[:, 0]] += 0.5
        is_correct = votes.argmax(axis=1) == self.classes
        return float(np.mean([is_correct[self.classes == number].mean() for number in np.unique(self.classes)]))


def online_probe(settings: PretrainSettings) -> OnlineProbe | None:
    """Load the films of the online probe.

    Args:
        settings: settings of the run; the probe has ``runtime.probe_films`` films.

    Returns:
        The probe; None if ``runtime.probe_every`` is 0, or too few films have a body part and view.

    Raises:
        ShardFormatError: a validation film cannot be read.
    """
    runtime, data = settings.runtime, settings.data
    if runtime.probe_every == 0:
        return None
    try:
        index = ShardIndex(data.shards, where=data.where, split="val", generations=data.generations)
    except SettingsError:  # no validation film
        return None
    names = [index.table.column(name).to_pylist() for name in ("body_part", "view")]
    labelled = [row for row in range(len(index)) if names[0][row] and names[1][row]]
    rows = np.sort(generator_for("online probe").permutation(np.array(labelled, dtype=np.int64))[: runtime.probe_films])
    classes = np.unique([f"{names[0][row]} {names[1][row]}" for row in rows], return_inverse=True)[1]
    if len(rows) <= NEIGHBOURS or classes.max() == 0:
        return None
    patients = np.unique(np.array(index.table.column("patient").to_pylist())[rows], return_inverse=True)[1]
    patch, tokens = settings.encoder.patch, settings.objective.tokens
    loaded = whole_film_batches(index, tokens=tokens, patch=patch, batch=_FILMS_PER_BATCH, workers=0, rows=rows)
    batches = [(np.searchsorted(rows, np.array(batch_rows)), patches) for batch_rows, patches in loaded]
    return OnlineProbe(classes.astype(np.int64), patients.astype(np.int64), batches)
