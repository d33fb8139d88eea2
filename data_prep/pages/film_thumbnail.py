"""Read one film of a public folder as display values, for sheets and reports."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import ShardFormatError, StorageError
from data_prep.folder_url import PublicFolder
from data_prep.object_storage.range_reader import read_part
from data_prep.object_storage.storage import ByteRange
from data_prep.pages.contact_sheet import fit_size, scale_film
from data_prep.shard_format.apply_display import apply_display
from data_prep.shard_format.content_mask_bits import unpack_mask
from data_prep.shard_format.film_codec import decode_film, reduction_for
from data_prep.shard_format.sidecar import Sidecar


def read_displayed_film(
    public: PublicFolder, row: Mapping[str, Any], side: int | None = None
) -> tuple[NDArray[np.uint16], Sidecar]:
    """Read and display one film of the index.

    Args:
        public: public folder.
        row: row of the index, with ``shard`` and the offsets and sizes of film and sidecar.
        side: pixels of the longer side of the result; None for the size of the film.

    Returns:
        [rows, columns] uint16 display values, dark 0 to bright 65535, and the sidecar.

    Raises:
        StorageError: object storage cannot be reached, or refuses the request.
        ShardFormatError: the shard cannot be read, or sidecar or film are damaged.
    """
    try:
        start, end = row["film_offset"], row["sidecar_offset"] + row["sidecar_size"]
        data = read_part(public, ByteRange(row["shard"], start, end - start))
        sidecar = Sidecar.model_validate_json(data[row["sidecar_offset"] - start :])
        unpack_mask(sidecar.content_mask, sidecar.rows, sidecar.columns)
        return decode_displayed_film(data[: row["film_size"]], sidecar, side), sidecar
    except StorageError:
        raise
    except Exception:  # codecs raise errors of any type; their texts may quote content
        raise ShardFormatError(f"{row['shard']} is missing or damaged; run: mae-rad verify {public}") from None


def decode_displayed_film(stream: bytes, sidecar: Sidecar, side: int | None = None) -> NDArray[np.uint16]:
    """Decode a film and apply its display.

    Args:
        stream: compressed film.
        sidecar: sidecar of the film.
        side: pixels of the longer side of the result; None for the size of the film. Small results are decoded at a
            reduced resolution.

    Returns:
        [rows, columns] uint16 display values, dark 0 to bright 65535.
    """
    display, shape = sidecar.display, (sidecar.rows, sidecar.columns)
    if side is None:
        return apply_display(decode_film(stream, bits=display.bits), display)
    size = fit_size(shape, (side, side))
    reduction = reduction_for(*shape, *size)
    return scale_film(apply_display(decode_film(stream, bits=display.bits, reduction=reduction), display), size)
