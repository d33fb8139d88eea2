"""Assigns labelled films to train, val and test by the split of their patients."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mae_rad.data.label_fraction import select_label_fraction
from mae_rad.data.shard_checks import check_patient_splits
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.finetuning.task.interface import Task
from mae_rad.finetuning.task.settings import FinetuneSettings
from mae_rad.training.films_trained_on import copies_of_trained_films

SplitRows = NDArray[np.int64]

_log = logging.getLogger(__name__)


def rows_by_split(settings: FinetuneSettings, task: Task[object]) -> dict[str, SplitRows]:
    """Select the films of train, val and test that have a target.

    Films of unknown patients are used in train only, since their patient may be in another split as well. A film is not
    used in val and test if its pixels are those of a training film, or of one on which the encoder that the run starts
    from was trained, and not in val if they are those of a test film.

    Args:
        settings: of the run.
        task: knows which films have a target.

    Returns:
        Split → rows of ``task.index``.

    Raises:
        EvaluationError: a patient is in two splits, or there is no val film.
        SettingsError: fewer training films than a batch.
    """
    table, data = task.index.table, settings.data
    check_patient_splits(table)
    split = np.array(table.column("split").to_pylist(), dtype=object)
    patient_known = np.asarray(pc.fill_null(table.column("patient_known"), False).to_numpy(zero_copy_only=False))
    in_train = _has_pixels_of(table, split, "train")
    if settings.start_from:
        in_train |= copies_of_trained_films(table, settings.start_from)
    usable = {
        "train": np.ones(len(split), dtype=np.bool_),
        "val": patient_known & ~in_train & ~_has_pixels_of(table, split, "test"),
        "test": patient_known & ~in_train,
    }
    rows = {name: np.flatnonzero((split == name) & task.has_target(name) & mask) for name, mask in usable.items()}
    for name in ("val", "test"):
        left_out = int(((split == name) & task.has_target(name) & ~usable[name]).sum())
        if left_out:
            _log.warning(
                "%d %s films are left out: their patient is unknown, or their pixels are in another split "
                "or were trained on before",
                left_out,
                name,
            )
    patients = table.column("patient").take(rows["train"]).to_pylist()
    rows["train"] = rows["train"][select_label_fraction(patients, data.label_fraction, data.label_seed)]
    if len(rows["train"]) < settings.optimizer.batch:
        raise SettingsError(
            f"{len(rows['train'])} labelled training films are fewer than optimizer.batch={settings.optimizer.batch}."
            " Give a smaller batch, or widen data.where, data.label_fraction or data.policy"
        )
    if len(rows["val"]) == 0:
        raise EvaluationError(
            "no val film has a label, and weights, calibration and thresholds are chosen on val. Shard with splits.val"
            " above 0, or label films of val"
        )
    if len(rows["test"]) == 0:
        _log.warning("no test film has a label: there is no evaluation on test")
    task.check(rows)
    return rows


def _has_pixels_of(table: pa.Table, split: NDArray[np.object_], name: str) -> NDArray[np.bool_]:
    """[films] which have the same pixels as a film of the split ``name``."""
    pixels = table.column("pixels")
    return np.asarray(pc.is_in(pixels, value_set=pixels.filter(pa.array(split == name)).combine_chunks()).to_numpy())
