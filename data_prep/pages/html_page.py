"""Pages of HTML that need nothing beside themselves: one look and one head for all. Imported by ``mae_rad``.

Every text is escaped by the template engine, a page has no script, and its Content-Security-Policy forbids to load
anything.
"""

from datetime import UTC, datetime
from importlib.metadata import version

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def environment(package: str) -> Environment:
    """For the ``templates`` of ``package``, which may import ``head.html``.

    Filters: n (12,345), percent. Globals: share(part, whole), today, release.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("data_prep.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"n": lambda count: f"{count:,}", "percent": percent}
    made.globals |= {
        "share": lambda part, whole: part / whole if whole else 0.0,
        "today": datetime.now(UTC).date().isoformat(),
        "release": version("mae_rad"),
    }
    return made


def percent(share: float) -> str:
    """Never 0 % or 100 % of what is neither none nor all."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return (f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}".removesuffix(".0")) + " %"
