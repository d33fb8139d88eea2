"""Self-contained HTML pages with one style; also used by ``mae_rad``.

The template engine escapes all texts; a page has no script, or the one whose SHA-256 its head states, and its
Content-Security-Policy forbids to load anything.
"""

import base64
from datetime import UTC, datetime
from importlib.metadata import version

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def environment(package: str) -> Environment:
    """Make the Jinja environment for the folder ``templates`` of a package.

    Templates may import ``head.html``. Filters: ``n`` (12,345) and ``percent``. Globals: ``share(part, whole)``,
    ``today`` (ISO date, UTC) and ``release``.

    Args:
        package: dotted name of the package.
    """
    templates = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("data_prep.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"n": lambda count: f"{count:,}", "percent": percent}
    templates.globals |= {
        "share": lambda part, whole: part / whole if whole else 0.0,
        "today": datetime.now(UTC).date().isoformat(),
        "release": version("mae_rad"),
    }
    return templates


def picture_element(picture: bytes, described: str, *, kind: str = "png") -> Markup:
    """Return an ``img`` element that contains its picture.

    Args:
        picture: of the file.
        described: description for screen readers.
        kind: ``png`` or ``jpeg``.
    """
    data = base64.b64encode(picture).decode()
    return Markup('<img src="data:image/{};base64,{}" alt="{}">').format(kind, data, described)


def percent(share: float) -> str:
    """Format a fraction, 0 to 1, as percent; only exactly 0 and 1 are shown as 0 % and 100 %."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return (f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}".removesuffix(".0")) + " %"
