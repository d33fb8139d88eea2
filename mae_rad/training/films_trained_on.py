"""The films that an encoder was trained on, by their pixels: a copy of one is not scored, whatever its key.

They are found through the settings of the run, as long as its shards are where they were (relative paths: from the
current folder); else a warning says that nothing was looked for. Folders without published checksums of pixels
(``sidecar.hashes=none``) are not compared with other folders.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_prep.bounded_reading import MAX_CARD_BYTES, parse_yaml, read_bounded, read_json
from data_prep.shard_format.appended_folders import generation_folders
from mae_rad.data.shard_reader import ShardIndex
from mae_rad.errors import UserError
from mae_rad.training.settings import DataSettings

_LOGGER = logging.getLogger(__name__)
_MOST_DESCENTS = 20


def copies_of_trained_films(table: pa.Table, run: Path) -> NDArray[np.bool_]:
    """Find the films of val and test whose pixels an encoder was trained on.

    Args:
        table: index of films, as :class:`ShardIndex` reads it.
        run: run folder, or the encoder folder in one; those that it started from count, too.

    Returns:
        [films] bool; none where the films of the run are not known: see :func:`pixels_trained_on`.
    """
    pixels = pixels_trained_on(run)
    is_copy = pc.is_in(table["pixels"], value_set=pixels) if len(pixels) else pa.nulls(len(table), pa.bool_())
    held_out = pc.not_equal(table["split"], "train")
    return np.asarray(pc.fill_null(pc.and_(is_copy, held_out), False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def pixels_trained_on(run: Path) -> pa.Array:
    """Collect the checksums of the pixels of all training films of a run, and of the runs that it started from.

    Args:
        run: run folder, or the encoder folder in one.

    Returns:
        SHA-256 of the pixels; those of a run whose settings or shards are not there any more are missing.
    """
    known: list[pa.Array] = []
    folder: Path | None = run
    for _ in range(_MOST_DESCENTS):
        if folder is None or (config := _config(folder)) is None:
            break
        known.append(_pixels_of_run(*config))
        start = config[1].get("start_from")
        folder = Path(start) if isinstance(start, str) else None
    return pc.unique(pa.chunked_array(known, pa.string())) if known else pa.array([], pa.string())


def _config(folder: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """Run folder and settings of a run or encoder folder; None if it has none, or none that can be read."""
    for run in (folder, folder.absolute().parent):
        if not (run / "run.json").exists():
            continue
        try:
            config = parse_yaml(read_bounded(run / "config.yaml", MAX_CARD_BYTES).decode())
        except (OSError, ValueError):
            config = None
        if isinstance(config, Mapping):
            return run, config
        _warn(run)
        return None
    return None


def _pixels_of_run(run: Path, config: Mapping[str, Any]) -> pa.Array:
    """Checksums of the pixels of the training films; empty where the shards are others by now."""
    try:
        recorded = read_json(run / "run.json")["dataset_sha256"]
        values = {name: value for name, value in config["data"].items() if name in DataSettings.model_fields}
        data = DataSettings.model_validate(values)
        most = data.generations or max(len(generation_folders(folder)) for folder in data.shards)
        for generations in [most] if data.generations else range(most, 0, -1):  # folders may have grown since
            index = ShardIndex(data.shards, **data.source | {"generations": generations})
            if index.dataset_sha256 == recorded:
                return index.table["pixels"].combine_chunks()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        pass
    _warn(run)
    return pa.array([], pa.string())


def _warn(run: Path) -> None:
    _LOGGER.warning(
        "The films that the run %s was trained on are not known: its shards are not where its config.yaml says, or have"
        " changed. Copies of them among films of val and test are not looked for.",
        run.name,
    )
