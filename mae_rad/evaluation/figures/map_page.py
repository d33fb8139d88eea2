"""A page with a map of the embeddings whose films appear under the pointer: ``map.html``, one file, nothing is loaded.

The film of a point is a small JPEG inside the page, so whoever has the page sees the films. Values that few patients
share are not named. The one script of the page is in it too, and its Content-Security-Policy allows no other.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from data_prep.pages.contact_sheet import fit_size, scale_film, to_grey_pixels
from data_prep.pages.html_page import environment
from data_prep.pages.plot_style import COLOURS
from data_prep.runtime.atomic_write import atomic_text
from mae_rad.data.shard_reader import FilmUnreadableError
from mae_rad.evaluation.figures.embedding_map import Vectors, nameable, principal
from mae_rad.evaluation.results.display_names import plain_name

MAP_PAGE = "map.html"
MAX_FILMS = 3000
_SIDE = 112
"""Pixels of the longer side of a thumbnail."""
_MAX_BYTES = 4600
"""Of a thumbnail, so that MAX_FILMS of them make a page below 20 MB."""
_QUALITIES = (80, 60, 40, 20, 5)
"""Of JPEG; the first that is small enough is taken."""
_RESOLUTION = 2000
"""Places of a point along each axis."""
RARE = "rare"

DisplayValues = Callable[[int], NDArray[np.uint16]]
"""Position of a film → its display values; raises FilmUnreadableError."""


def write_map_page(
    encoders: Mapping[str, Vectors],
    colourings: Mapping[str, NDArray[np.object_]],
    patients: NDArray[np.int64],
    display_values: DisplayValues,
    folder: Path,
    *,
    min_patients: int,
) -> Path | None:
    """Write ``map.html``: a point per film, at the first two principal components of its embedding.

    Args:
        encoders: name → vectors [N, D] of the same N films, at most MAX_FILMS, in the same order.
        colourings: name → value of each film [N], empty where it has none.
        patients: [N] number of the patient of each film.
        display_values: position of a film → its display values.
        folder: receives the page.
        min_patients: values that fewer patients share are shown as ``rare``.

    Returns:
        The page; None where there are too few films for a map.
    """
    films = len(patients)
    path = folder / MAP_PAGE
    path.unlink(missing_ok=True)
    if films <= 2 or not encoders:
        return None
    data = {
        "maps": {name: _points(matrix) for name, matrix in encoders.items()},
        "colourings": {plain_name(name): _codes(values, patients, min_patients) for name, values in colourings.items()},
        "thumbnails": [_thumbnail(display_values, position) for position in range(films)],
        "colours": COLOURS,
    }
    atomic_text(path, _render(data, films, len(np.unique(patients))))
    return path


def _render(data: Mapping[str, Any], films: int, patients: int) -> str:
    script = (resources.files("mae_rad.evaluation.figures") / "templates" / "map.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment("mae_rad.evaluation.figures")
        .get_template("map.html")
        .render(
            data=htmlsafe_json_dumps(data, separators=(",", ":")),
            script=Markup(script),
            script_sha256=digest,
            films=films,
            patients=patients,
            encoders=list(data["maps"]),
            colourings=list(data["colourings"]),
            resolution=_RESOLUTION,
        )
    )


def _points(matrix: Vectors) -> dict[str, Any]:
    """Places of the points, 0 to _RESOLUTION, and the variance of both components in percent."""
    projected, explained = principal(matrix)
    low, high = projected.min(axis=0), projected.max(axis=0)
    scaled = (projected - low) / np.maximum(high - low, 1e-12) * _RESOLUTION
    x, y = np.rint(scaled).astype(int).T
    return {"x": x.tolist(), "y": (_RESOLUTION - y).tolist(), "percent": [round(100 * float(e), 1) for e in explained]}


def _codes(values: NDArray[np.object_], patients: NDArray[np.int64], min_patients: int) -> dict[str, Any]:
    """The values that may be named, the most frequent first, and the number of the value of each film; -1 is none."""
    named = nameable(values, patients, min_patients)
    numbers = {name: number for number, name in enumerate(named)}
    codes = [numbers.get(value, len(named)) if value else -1 for value in values.tolist()]
    return {"values": [*named, RARE] if len(named) in codes else named, "codes": codes}


def _thumbnail(display_values: DisplayValues, position: int) -> str | None:
    """The film as a base64 JPEG; None if it cannot be read."""
    try:
        values = display_values(position)
    except FilmUnreadableError:  # its point stays; `verify` reports the film
        return None
    picture = Image.fromarray(to_grey_pixels(scale_film(values, fit_size(values.shape, (_SIDE, _SIDE)))))
    for quality in _QUALITIES:
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=quality, optimize=True)
        if file.tell() <= _MAX_BYTES:
            break
    return base64.b64encode(file.getvalue()).decode()


def sampled_films(films: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Draw films for a map, the same each time.

    Args:
        films: rows to draw from.
        count: number of films; all of them where there are fewer.

    Returns:
        Rows, sorted.
    """
    return np.sort(np.random.default_rng(0).permutation(films)[:count])


def without_empty(colourings: Mapping[str, NDArray[np.object_]]) -> dict[str, NDArray[np.object_]]:
    """Leave out colourings that have no value for any film."""
    return {name: values for name, values in colourings.items() if (values != "").any()}
