"""One film of a public folder as it is displayed, read by its place in the shard: for sheets and reports."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.shard_format.apply_display import apply
from data_prep.shard_format.film_codec import decode_film, reduction_for
from data_prep.shard_format.sidecar import Sidecar


def shown_film(public: Path, row: Mapping[str, Any], side: int | None = None) -> tuple[NDArray[np.uint16], Sidecar]:
    """Display values [rows, columns], dark 0 to bright 65535, and the sidecar of the film of one row of the index.

    Args:
        public: the folder.
        row: with ``shard`` and the offsets and sizes of the film's two members.
        side: pixels of the longer side of the picture; None for the film's own size.

    Raises:
        OSError: the shard cannot be read.
    """
    with (public / row["shard"]).open("rb") as tar:
        tar.seek(row["sidecar_offset"])
        sidecar = Sidecar.model_validate_json(tar.read(row["sidecar_size"]))
        tar.seek(row["film_offset"])
        stream = tar.read(row["film_size"])
    display = sidecar.display
    if side is None:
        return apply(decode_film(stream, bits=display.bits), display), sidecar
    scale = side / max(sidecar.rows, sidecar.columns)
    size = max(1, round(sidecar.rows * scale)), max(1, round(sidecar.columns * scale))
    reduction = reduction_for(sidecar.rows, sidecar.columns, *size)
    shown = apply(decode_film(stream, bits=display.bits, reduction=reduction), display)
    how = cv2.INTER_AREA if shown.shape[0] >= size[0] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(shown, size[::-1], interpolation=how), np.uint16), sidecar
