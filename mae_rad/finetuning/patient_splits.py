"""Which films train, choose and test: by the split of their patients, and by what is known of them."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mae_rad.data.label_fraction import in_fraction
from mae_rad.errors import EvaluationError, SettingsError
from mae_rad.finetuning.task.interface import Task
from mae_rad.finetuning.task.settings import FinetuneSettings

Rows = NDArray[np.int64]

_log = logging.getLogger(__name__)


def rows_by_split(settings: FinetuneSettings, task: Task[object]) -> dict[str, Rows]:
    """Places in ``task.index`` of the films of train, val and test that the task can use.

    Films of unknown patients only train: of them nobody knows whether their patient is in another split, too. A film
    with the pixels of a training film, under another name, neither chooses nor tests, and one with those of a test film
    does not choose.

    Raises:
        EvaluationError: a patient stands in two splits, or there is no val film.
        SettingsError: fewer training films than a batch.
    """
    table, data = task.index.table, settings.data
    refuse_shared_patients(table)
    split = np.array(table.column("split").to_pylist(), dtype=object)
    named = np.asarray(pc.fill_null(table.column("patient_known"), False).to_numpy(zero_copy_only=False))
    seen = _pixels_of(table, split, "train")
    usable = {
        "train": np.ones(len(split), dtype=np.bool_),
        "val": named & ~seen & ~_pixels_of(table, split, "test"),
        "test": named & ~seen,
    }
    rows = {name: np.flatnonzero((split == name) & task.known(name) & here) for name, here in usable.items()}
    for name in ("val", "test"):
        lost = int(((split == name) & task.known(name) & ~usable[name]).sum())
        if lost:
            _log.warning(
                "%d %s films are left out: their patient is unknown, or they train or test under another name",
                lost,
                name,
            )
    patients = table.column("patient").take(rows["train"]).to_pylist()
    rows["train"] = rows["train"][in_fraction(patients, data.label_fraction, data.label_seed)]
    if len(rows["train"]) < settings.optimizer.batch:
        raise SettingsError(
            f"{len(rows['train'])} labelled training films are fewer than optimizer.batch {settings.optimizer.batch};"
            " give a smaller batch, or widen data.where, data.label_fraction or data.policy"
        )
    if len(rows["val"]) == 0:
        raise EvaluationError(
            "no film of the split val has a label: the best weights, calibration and thresholds are chosen on val;"
            " shard with splits.val above 0, or label films of val"
        )
    if len(rows["test"]) == 0:
        _log.warning("no film of the split test has a label: nothing is tested")
    task.check(rows)
    return rows


def _pixels_of(table: pa.Table, split: NDArray[np.object_], name: str) -> NDArray[np.bool_]:
    """[films] which have the pixels of a film of the split ``name``."""
    pixels = table.column("pixel_sha256")
    return np.asarray(pc.is_in(pixels, value_set=pixels.filter(pa.array(split == name)).combine_chunks()).to_numpy())


def refuse_shared_patients(table: pa.Table) -> None:
    """Refuse films of one patient in two splits.

    Raises:
        EvaluationError: says how many patients.
    """
    pairs = table.select(["patient", "split"]).group_by(["patient", "split"]).aggregate([])
    shared = len(pairs) - pc.count_distinct(table.column("patient")).as_py()
    if shared:
        raise EvaluationError(
            f"{shared} patients of these shard folders stand in more than one split, so a test would be no test;"
            " shard the archives together, or with the same secret and split settings"
        )
