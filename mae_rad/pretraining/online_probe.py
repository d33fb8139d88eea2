"""Online probe: effective rank of the vectors of validation films during training, and what their neighbours predict.

It needs no labels, and uses those that are there. Nothing is fitted, only validation films are read, and the training
does not depend on what the probe finds.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mae_rad.data.batch import Patches
from mae_rad.data.seeded_random import generator_for
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.data.whole_films import whole_film_batches
from mae_rad.embedding.film_vector import film_vectors, vector_width
from mae_rad.embedding.vector_geometry import rank_me
from mae_rad.encoders.any_encoder import Encoder
from mae_rad.errors import SettingsError
from mae_rad.pretraining.probe_questions import Question, choose_questions
from mae_rad.pretraining.settings import PretrainSettings

MIN_FILMS = 8
"""Lowest number of films whose effective rank is computed."""
_FILMS_PER_BATCH = 32

_log = logging.getLogger(__name__)


class OnlineProbe:
    """Validation films, kept in memory as patches at the last T of the run.

    Attributes:
        questions: what is predicted of the films.
        batches: (positions of films, their patches).
        films: number of films.
    """

    def __init__(self, questions: Sequence[Question], batches: list[tuple[NDArray[np.int64], Patches]]) -> None:
        self.questions, self.batches = questions, batches
        self.films = sum(len(places) for places, _ in batches)

    def read(self, encoder: Encoder, device: torch.device, precision: str) -> dict[str, float]:
        """Compute ``probe/rankme`` (effective rank) and the metrics of the questions.

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
        scores = {f"probe/{question.metric}": question.score(vectors) for question in self.questions}
        return {"probe/rankme": rank_me(vectors)} | scores

    def vectors(self, encoder: Encoder, device: torch.device, precision: str) -> NDArray[np.float32]:
        """Embed the films: the film vector of the encoder.

        Args:
            encoder: encoder on ``device``; its training mode is restored.
            device: device of the encoder.
            precision: precision of the forward pass, f32 or bf16.

        Returns:
            [films, W] float32.
        """
        was_training = encoder.training
        encoder.eval()
        vectors = np.empty((self.films, vector_width(encoder)), dtype=np.float32)
        for places, patches in self.batches:
            vectors[places] = film_vectors(encoder, patches.to(device), precision=precision).cpu().numpy()
        encoder.train(was_training)
        return vectors


def online_probe(settings: PretrainSettings, *, announce: bool = True) -> OnlineProbe | None:
    """Load the films of the online probe.

    Args:
        settings: settings of the run; the probe has ``runtime.probe_films`` films.
        announce: log what it reads, or why there is none.

    Returns:
        The probe; None if ``runtime.probe_every`` is 0, or there are too few validation films.

    Raises:
        SettingsError: ``runtime.probe_labels`` names a label that the films do not have.
        ShardFormatError: a validation film or table of labels cannot be read.
    """
    runtime, data = settings.runtime, settings.data
    if runtime.probe_every == 0:
        return None
    try:
        index = ShardIndex(data.shards, split="val", **data.source).at_scale(settings.encoder.film_scale)
    except SettingsError:  # no validation film
        index = None
    if index is None or len(index) < MIN_FILMS:
        if announce:
            _log.warning(
                "no online probe (runtime.probe_every): the shards have %d val films, and it needs %d. Shard with"
                " splits.val above 0, or set runtime.probe_every=0.",
                0 if index is None else len(index),
                MIN_FILMS,
            )
        return None
    rows = np.sort(generator_for("online probe").permutation(np.arange(len(index)))[: runtime.probe_films])
    table = index.table.take(rows)
    patients = np.unique(np.array(table.column("patient").to_pylist()), return_inverse=True)[1].astype(np.int64)
    questions = choose_questions(table, patients, data.shards, runtime.probe_labels)
    if announce:
        metrics = ", ".join(["rankme", *(question.metric for question in questions)])
        _log.info("online probe: %d val films of %d patients: %s", len(rows), patients.max() + 1, metrics)
    patch, tokens = settings.encoder.patch, settings.objective.tokens
    loaded = whole_film_batches(index, tokens=tokens, patch=patch, batch=_FILMS_PER_BATCH, workers=0, rows=rows)
    batches = [(np.searchsorted(rows, np.array(batch_rows)), patches) for batch_rows, patches in loaded]
    return OnlineProbe(questions, batches)
