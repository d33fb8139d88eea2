"""Runs and settings → everything that a comparison needs: who is compared, on which films, with their vectors.

What cannot be compared is refused before anything takes time.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.comparison.candidates import find_candidates
from mae_rad.evaluation.comparison.compare_encoders import TOKENS, ComparisonInputs
from mae_rad.evaluation.comparison.embed_candidates import encode
from mae_rad.evaluation.comparison.settings import CompareSettings
from mae_rad.evaluation.comparison.subsets import read_boxes
from mae_rad.evaluation.comparison.tasks import Films, build_tasks
from mae_rad.evaluation.comparison.trained_probes import plan


def prepare(runs: Sequence[Path], settings: CompareSettings) -> ComparisonInputs:
    """Find, check and embed.

    Args:
        runs: run folders, beside ``settings.encoders``.
        settings: of the comparison.

    Raises:
        EvaluationError: nothing to compare, no task can be asked, or tables and shards do not fit together.
        WeightsError: a folder holds no encoder.
    """
    if settings.out.exists() and not settings.out.is_dir():
        raise EvaluationError(f"{settings.out} is a file; give a folder as out")
    films = Films(settings.shards)
    candidates = find_candidates(runs, settings, films.dataset_sha256)
    if set(settings.probes) == {TOKENS} and not any(candidate.shape for candidate in candidates):
        raise EvaluationError("foreign vectors have no patch tokens for the attentive probe; add linear to `probes`")
    lacking = {}
    for candidate in candidates:
        if candidate.table is not None:
            missing = np.zeros(len(films.keys), dtype=np.bool_)
            missing[read_embeddings(candidate.table, films.index, settings.cache).missing()] = True
            lacking[f"no vector of {candidate.name}"] = missing
    tasks, skipped = build_tasks(
        films,
        settings.tasks,
        all_labels=settings.all_labels,
        min_patients=settings.min_patients,
        lacking=lacking,
        policy=settings.policy,
    )
    if not tasks:
        reasons = "; ".join(f"{task.name}: {task.reason}" for task in skipped)
        raise EvaluationError(f"no task can be asked of these shards ({reasons or 'none is set'})")
    plans = [plan(task, settings) for task in tasks]
    fitted = np.unique(np.concatenate([one.task.rows[one.draws[1.0][0].train] for one in plans]))
    attended = np.unique(np.concatenate([one.rows() for one in plans])) if TOKENS in settings.probes else None
    encoded = encode(candidates, settings, films.index, fitted=fitted, attended=attended)
    return ComparisonInputs(encoded, films, lacking, read_boxes(settings.shards), plans, skipped, settings)
