"""Draw boxes of ``boxes.parquet`` on the films of a sheet, with one colour per label."""

from collections import defaultdict
from typing import Any

import pyarrow as pa
from PIL import Image, ImageDraw

from data_prep.errors import ShardFormatError
from data_prep.folder_url import PublicFolder
from data_prep.object_storage.published_files import local_file
from data_prep.pages.contact_sheet import Colour
from data_prep.shard_format.parquet_bytes import read_parquet

_COLOURS = (
    *((255, 92, 92), (72, 200, 255), (120, 230, 120), (255, 214, 64), (224, 130, 255), (255, 150, 50)),
    *((60, 120, 255), (255, 255, 200), (0, 190, 170), (255, 120, 190), (180, 140, 90), (190, 255, 0)),
    *((150, 150, 255), (200, 60, 60), (0, 150, 60), (180, 180, 180)),
)

FilmBoxes = dict[str, list[dict[str, Any]]]
"""Key of a film → rows of BOXES_SCHEMA."""


def read_boxes(public: PublicFolder) -> FilmBoxes:
    """Read all boxes of a public folder.

    Raises:
        ShardFormatError: the folder has no boxes.
    """
    try:
        rows = read_parquet(local_file(public, "boxes.parquet")).to_pylist()
    except (OSError, pa.ArrowException):
        rows = []
    if not rows:
        raise ShardFormatError(f"{public} has no boxes to show; write them with: mae-rad label")
    boxes: FilmBoxes = defaultdict(list)
    for row in rows:
        boxes[row["key"]].append(row)
    return boxes


def assign_colours(boxes: FilmBoxes) -> dict[str, Colour]:
    """Assign a colour to each label."""
    labels = sorted({row["label"] for rows in boxes.values() for row in rows})
    return {label: _COLOURS[number % len(_COLOURS)] for number, label in enumerate(labels)}


def draw_boxes(
    picture: Image.Image,
    rows: list[dict[str, Any]],
    source_size: tuple[int, int],
    colours: dict[str, Colour],
) -> None:
    """Draw boxes on a scaled picture of a film.

    Args:
        picture: picture of any size, which is changed in place.
        rows: rows of BOXES_SCHEMA, in pixels of the source raster.
        source_size: (rows, columns) of the source raster, in pixels.
        colours: label → colour.
    """
    draw = ImageDraw.Draw(picture)
    y_scale, x_scale = picture.height / source_size[0], picture.width / source_size[1]
    for row in rows:
        edges = row["x_min"] * x_scale, row["y_min"] * y_scale, row["x_max"] * x_scale - 1, row["y_max"] * y_scale - 1
        left, top = round(edges[0]), round(edges[1])
        draw.rectangle(
            (left, top, max(left, round(edges[2])), max(top, round(edges[3]))), outline=colours[row["label"]]
        )
