"""Predictions for films by models that have not seen their patients: a probe on vectors, or a finetuned head.

Legend: N films, C classes, D channels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.shard_format.parquet_bytes import read_parquet
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.embedding.embed_run import embed_table
from mae_rad.embedding.embeddings_file import read_embeddings
from mae_rad.embedding.standardised_rows import Vectors
from mae_rad.errors import EvaluationError
from mae_rad.evaluation.probes.linear_and_knn import PROBES, SplitData
from mae_rad.evaluation.probes.number_probes import NUMBER_PROBES
from mae_rad.evaluation.probes.out_of_fold import out_of_fold
from mae_rad.evaluation.statistics.metrics import Floats
from mae_rad.suspects.answers import BETWEEN_CLASSES
from mae_rad.suspects.film_groups import film_groups
from mae_rad.suspects.settings import SuspectsSettings
from mae_rad.suspects.stated_fields import StatedField

PREDICTIONS = Path("evaluation") / "predictions.parquet"
CACHE, EMBEDDINGS = ".vectors", "embeddings.parquet"


class FieldScores(NamedTuple):
    """Predictions of one field.

    Attributes:
        rows: [N] films, as rows of the index.
        scores: [N, C] probabilities; of a number [N, 1] predictions.
        without: films of which something is stated, but that have no prediction.
        note: how they were predicted.
    """

    rows: NDArray[np.int64]
    scores: Floats
    without: int
    note: str


ScoreField = Callable[[StatedField], FieldScores]


def open_scores(source: Path, index: ShardIndex, settings: SuspectsSettings) -> ScoreField:
    """Open what predicts: a table of embeddings, an encoder, or a finished finetuning.

    Args:
        source: table of embeddings, run folder, encoder folder, or run folder of a finetuning.
        index: all films.
        settings: of the command.

    Returns:
        A function that predicts a field.

    Raises:
        WeightsError: a folder holds no encoder.
        EvaluationError: a table does not fit the shards, or is damaged.
        ShardFormatError: a film cannot be read.
    """
    if (source / PREDICTIONS).is_file():
        return head_scores(source, index)
    table = source
    if source.is_dir():
        table = embed_table(
            source, shards=settings.shards, out=settings.out / EMBEDDINGS, tokens=None, pool=None, precision=None,
            batch_size=settings.batch_size, workers=settings.workers, processes=0,
        )  # fmt: skip
    store = read_embeddings(table, index, settings.out / CACHE)
    vectors = Vectors(store.vectors("none"), np.arange(len(index)))
    has_vector = np.ones(len(index), dtype=np.bool_)
    has_vector[store.missing()] = False
    return probe_scores(vectors, has_vector, film_groups(index.table), settings.seed, settings.choose_on)


def probe_scores(
    vectors: Vectors, has_vector: NDArray[np.bool_], groups: NDArray[np.int64], seed: int, choose_on: int
) -> ScoreField:
    """Return the out-of-fold predictions of the linear probe on vectors.

    Args:
        vectors: [films, D].
        has_vector: [films] whether a film has one.
        groups: [films] number of the group that no fold divides.
        seed: seed of the folds.
        choose_on: most films on which the hyperparameter is chosen.
    """

    def score(field: StatedField) -> FieldScores:
        rows = field.rows[has_vector[field.rows]]
        without = len(field.rows) - len(rows)
        if field.numbers is not None:
            films = SplitData(vectors.take(rows), field.numbers[rows], groups[rows])
            output = out_of_fold(NUMBER_PROBES["linear"], films, 1, seed=seed, choose_on=choose_on)
            return FieldScores(rows, output.scores, without, f"ridge regression, {output.note}")
        films = SplitData(vectors.take(rows), field.y[rows], groups[rows])
        output = out_of_fold(PROBES["linear"], films, len(field.classes), seed=seed, choose_on=choose_on)
        return FieldScores(rows, output.scores, without, f"logistic regression, {output.note}")

    return score


def head_scores(run: Path, index: ShardIndex) -> ScoreField:
    """Return the predictions of a finished finetuning for its films of val and test, which it was not trained on.

    Args:
        run: run folder with ``evaluation/predictions.parquet``.
        index: all films.

    Raises:
        EvaluationError: the table is damaged, or belongs to other shards.
    """
    try:
        table = read_parquet(run / PREDICTIONS)
        place_of = pc.fill_null(pc.index_in(table["key"], value_set=index.table["key"].combine_chunks()), -1)
        places, labels = place_of.to_numpy().astype(np.int64), set(table["label"].to_pylist())
    except (OSError, pa.ArrowException, KeyError):
        raise EvaluationError(
            f"{run / PREDICTIONS} is damaged. Run the same finetuning command again to rewrite it"
        ) from None
    if not len(places) or (places < 0).any():
        raise EvaluationError(
            f"{run / PREDICTIONS} has films that these shards do not hold. Give the shards of the run"
        )

    def score(field: StatedField) -> FieldScores:
        names = {field.name, field.name.replace(BETWEEN_CLASSES, " or ")} & labels
        if not names:
            raise EvaluationError(
                f"{run} predicts {', '.join(sorted(labels))}, not {field.name}. Name these under fields, or"
                " give an encoder"
            )
        chosen = np.asarray(pc.equal(table["label"], names.pop()))
        rows, scores = places[chosen], _head_columns(table.filter(pa.array(chosen)), field, run)
        order = np.argsort(rows)
        rows, scores = rows[order], scores[order]
        keep = (field.y[rows] >= 0) & np.isfinite(scores).all(axis=1)
        if field.numbers is None:
            keep &= np.take_along_axis(scores, np.maximum(field.y[rows], 0)[:, None], axis=1)[:, 0] >= 0
            scores = np.maximum(scores, 0)
        without = len(field.rows) - int(keep.sum())
        return FieldScores(
            rows[keep], scores[keep], without, f"the head of {run.resolve().name}, films of val and test"
        )

    return score


def _head_columns(table: pa.Table, field: StatedField, run: Path) -> Floats:
    """[N, C] probabilities, -1 of a class that the head does not know; or [N, 1] predicted numbers."""
    if ("number" in table.column_names) != (field.numbers is not None):
        kind = "numbers" if field.numbers is not None else "classes"
        raise EvaluationError(f"{run} does not predict {kind} of {field.name}. Change fields, or give an encoder")
    if field.numbers is not None:
        return np.asarray(table["predicted"].to_numpy(), dtype=np.float64)[:, None]
    if "class" not in table.column_names:
        present = table["probability"].to_numpy().astype(np.float64)
        columns = {"present": present, "absent": 1 - present}
    else:
        struct = table["probability"].combine_chunks()
        columns = {name: struct.field(name).to_numpy() for name in (member.name for member in struct.type)}
    none = np.full(table.num_rows, -1.0)
    return np.stack([columns.get(name, none) for name in field.classes], axis=1)
