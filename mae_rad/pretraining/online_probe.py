"""What the embedding is worth while it is being trained: effective rank, and how well like films lie together.

A fixed set of validation films. Each is told its kind (body part and view) by its nearest neighbours among films of
other patients: no probe is trained, and no label but these of the index is needed.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.batch import Patches
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import film_vectors
from mae_rad.embedding.nearest_neighbours import nearest
from mae_rad.embedding.standardised_rows import Standardised, of_array, scale_of
from mae_rad.embedding.vector_geometry import rank_me
from mae_rad.encoders.vit import ViT
from mae_rad.errors import SettingsError
from mae_rad.pretraining.settings import PretrainSettings

NEIGHBOURS = 5
_BATCH = 32


class OnlineProbe:
    """Films of validation, held in memory as patches at the last T of the run.

    Attributes:
        kinds: [films] number of the body part and view of each.
        patients: [films] number of its patient.
        batches: (places, patches) of all of them.
    """

    def __init__(
        self, kinds: NDArray[np.int64], patients: NDArray[np.int64], batches: list[tuple[NDArray[np.int64], Patches]]
    ) -> None:
        self.kinds, self.patients, self.batches = kinds, patients, batches

    def read(self, encoder: ViT, device: torch.device, precision: str) -> dict[str, float]:
        """``probe/rankme``, and ``probe/knn``: share of each kind that is recognised, averaged over kinds.

        Every rank must call it: parameters may be partitioned.
        """
        vectors = self.vectors(encoder, device, precision)
        if not np.isfinite(vectors).all():
            return {}
        return {"probe/rankme": rank_me(vectors), "probe/knn": self.recognised(vectors)}

    def vectors(self, encoder: ViT, device: torch.device, precision: str) -> NDArray[np.float32]:
        """[films, D] the encoder's own vectors, those of its embedding.

        Args:
            encoder: in any mode, in which it is left.
            device: of the encoder.
            precision: of the forward pass.
        """
        training = encoder.training
        encoder.eval()
        vectors = np.empty((len(self.kinds), encoder.dim), dtype=np.float32)
        for places, patches in self.batches:
            vectors[places] = film_vectors(encoder, patches.to(device), precision=precision).cpu().numpy()
        encoder.train(training)
        return vectors

    def recognised(self, vectors: NDArray[np.float32]) -> float:
        """Balanced accuracy of the majority among the neighbours; of a tie, the kind of the nearest."""
        films = Standardised(of_array(vectors), scale_of(of_array(vectors)), unit=True)
        place = nearest(films, films, NEIGHBOURS, apart=(self.patients, self.patients)).place
        near = np.where(place >= 0, self.kinds[place], -1)
        votes = np.stack([(near == kind).sum(axis=1) for kind in range(self.kinds.max() + 1)], axis=1).astype(float)
        votes[np.arange(len(near)), near[:, 0]] += 0.5
        right = votes.argmax(axis=1) == self.kinds
        return float(np.mean([right[self.kinds == kind].mean() for kind in np.unique(self.kinds)]))


def online_probe(settings: PretrainSettings) -> OnlineProbe | None:
    """The probe that ``runtime.probe_every`` asks for; None where it is 0, or too few films have a body part and view.

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
    known = [row for row in range(len(index)) if names[0][row] and names[1][row]]
    rows = np.sort(generator_for("online probe").permutation(np.array(known, dtype=np.int64))[: runtime.probe_films])
    kinds = np.unique([f"{names[0][row]} {names[1][row]}" for row in rows], return_inverse=True)[1]
    if len(rows) <= NEIGHBOURS or kinds.max() == 0:
        return None
    patients = np.unique(np.array(index.table.column("patient").to_pylist())[rows], return_inverse=True)[1]
    patch, tokens = settings.encoder.patch, settings.objective.tokens
    read = whole_film_batches(index, tokens=tokens, patch=patch, batch=_BATCH, workers=0, rows=rows)
    batches = [(np.searchsorted(rows, np.array(here)), patches) for here, patches in read]
    return OnlineProbe(kinds.astype(np.int64), patients.astype(np.int64), batches)
