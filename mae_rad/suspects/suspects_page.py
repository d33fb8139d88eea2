"""The page on which a person looks at suspects and answers: ``suspects.html``, one file, nothing is loaded.

Its script saves the answers as a CSV file; the Content-Security-Policy allows no other script, and no connection.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from importlib import resources

from markupsafe import Markup
from PIL import Image

from data_prep.pages.contact_sheet import to_grey_pixels
from data_prep.pages.html_page import environment, picture_element
from mae_rad.data.shard_reader import FilmUnreadableError, ShardIndex
from mae_rad.data.views import square_film
from mae_rad.suspects.field_suspects import FieldSuspects

_SIDE, _CELL = 280, 4
"""Pixels of the longer side of a film, and of which its sides are multiples."""
_QUALITY = 80
_CONTEXT = ("body_part", "view", "laterality", "age_years", "sex")
"""Index columns that are shown beside a film."""


def render_page(found: Sequence[FieldSuspects], index: ShardIndex, shown: int, not_meant: str) -> str:
    """Render the page.

    Args:
        found: suspects of each field.
        index: all films.
        shown: most films of a field.
        not_meant: what the expected number does not mean.

    Returns:
        HTML.
    """
    package = "mae_rad.suspects"
    script = (resources.files(package) / "templates" / "suspects.js").read_text(encoding="utf-8")
    return (
        environment(package)
        .get_template("suspects.html")
        .render(
            fields=[_field(one, index, shown) for one in found],
            not_meant=not_meant,
            script=Markup(script),
            script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _field(one: FieldSuspects, index: ShardIndex, shown: int) -> dict[str, object]:
    rows = one.rows[:shown].tolist()
    context = index.table.select(list(_CONTEXT)).take(rows).to_pylist() if rows else []
    films = []
    for place, row in enumerate(rows):
        known = {name: value for name, value in context[place].items() if value is not None and name != one.field.name}
        of_number = one.field.numbers is not None
        films.append(
            {
                "rank": place + 1,
                "key": index.key(row),
                "picture": _picture(index, row, f"film {place + 1}: stated {one.stated[place]}"),
                "stated": one.stated[place],
                "predicted": one.predicted[place],
                "how": f"{one.deviations[place]:+.1f} deviations" if of_number else f"{one.probability[place]:.0%}",
                "context": " · ".join(
                    f"{value} years" if name == "age_years" else str(value) for name, value in known.items()
                ),
            }
        )
    return {
        "name": one.field.name,
        "is_number": one.field.numbers is not None,
        "classes": one.field.classes,
        "scored": one.scored,
        "found": len(one.rows),
        "expected": one.expected,
        "lines": one.lines(len(one.rows))[1:],
        "note": one.note,
        "quality": one.quality_words,
        "films": films,
    }


def _picture(index: ShardIndex, row: int, described: str) -> Markup:
    """The film as an element; a note where it cannot be read."""
    try:
        values = square_film(index.film(row), _SIDE, _CELL)
    except FilmUnreadableError:
        return Markup("<span>cannot be read</span>")
    file = io.BytesIO()
    Image.fromarray(to_grey_pixels(values)).save(file, format="JPEG", quality=_QUALITY, optimize=True)
    return picture_element(file.getvalue(), described, kind="jpeg")
