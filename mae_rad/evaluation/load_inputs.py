"""Load the inputs of a comparison: encoders, films, tasks and vectors.

Errors of runs and tasks are raised before films are embedded.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import find_candidates
from mae_rad.evaluation.comparison.compare_encoders import TOKENS, ComparisonInputs
from mae_rad.evaluation.comparison.embed_candidates import embed_all_candidates
from mae_rad.evaluation.comparison.films import Films
from mae_rad.evaluation.comparison.label_draws import patient_folds, unlabelled_rows
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.subsets import read_boxes
from mae_rad.evaluation.comparison.tasks import build_tasks
from mae_rad.evaluation.comparison.trained_probes import plan_probe
from mae_rad.training.films_trained_on import copies_of_trained_films

_log = logging.getLogger(__name__)


def prepare_inputs(runs: Sequence[Path], settings: CompareSettings) -> ComparisonInputs:
    """Find the encoders, build the tasks and embed the films.

    Args:
        runs: run folders, in addition to ``settings.encoders``.
        settings: settings of the comparison.

    Raises:
        EvaluationError: nothing to compare, no task can be evaluated, or tables and shards do not fit together.
        WeightsError: a folder holds no encoder.
    """
    if settings.out.exists() and not settings.out.is_dir():
        raise EvaluationError(f"out is a file: {settings.out}. Give a folder.")
    films = Films(settings.shards, settings.score_on, distinct_patients=settings.distinct_patients)
    candidates = find_candidates(runs, settings, films.dataset_sha256)
    if set(settings.probes) == {TOKENS} and not any(candidate.shape for candidate in candidates):
        raise EvaluationError("`foreign` vectors have no patch tokens for the attentive probe. Add linear to `probes`.")
    rows_without_vector = {}
    for candidate in candidates:
        if candidate.table is not None:
            missing = np.zeros(len(films.keys), dtype=np.bool_)
            missing[read_embeddings(candidate.table, films.index, settings.cache).missing()] = True
            rows_without_vector[f"no vector of {candidate.name}"] = missing
        elif candidate.folder is not None and (copies := copies_of_trained_films(films.table, candidate.folder)).any():
            rows_without_vector[f"same pixels as a training film of {candidate.name}"] = copies
            _log.warning("%d films are not scored: %s was trained on their pixels", copies.sum(), candidate.name)
    tasks, skipped = build_tasks(
        films,
        settings.tasks,
        all_labels=settings.all_labels,
        min_patients=settings.min_patients,
        films_without_vector=rows_without_vector,
        policy=settings.policy,
        folds=patient_folds(films, settings.cross_fit, settings.seed),
    )
    if not tasks:
        reasons = "; ".join(f"{task.name}: {task.reason}" for task in skipped)
        raise EvaluationError(f"no task can be evaluated on these shards: {reasons or 'none is set'}. Change `tasks`.")
    plans = [plan_probe(task, settings) for task in tasks]
    training_rows = np.unique(np.concatenate([plan.task.rows[plan.draws[1.0][0][0].train] for plan in plans]))
    if settings.cross_fit:  # principal components of the pixels are pretrained like the encoders
        every = np.ones(len(films.keys), dtype=np.bool_)
        training_rows = unlabelled_rows(films, every)[:: max(1, len(films.keys) // settings.max_train_films)]
    token_rows = np.unique(np.concatenate([plan.rows() for plan in plans])) if TOKENS in settings.probes else None
    embedded = embed_all_candidates(
        candidates, settings, films.index, training_rows=training_rows, token_rows=token_rows
    )
    return ComparisonInputs(embedded, films, rows_without_vector, read_boxes(settings.shards), plans, skipped, settings)
