"""Sphinx configuration of the documentation: ``make docs`` builds it, and every warning is an error."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, not another installed one

from docs.reference_pages import write_reference_pages

project = "mae_rad"
author = "the authors of mae_rad"
version = release = installed_version("mae_rad")

extensions = [
    "myst_parser",  # pages are Markdown
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",  # Google style docstrings
    "sphinx_copybutton",
    "sphinx_design",  # cards of the first page
]
exclude_patterns = ["_static"]
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "none"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "mae_rad"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app):  # type: ignore[no-untyped-def]  # noqa: D103
    app.connect("builder-inited", lambda app: write_reference_pages(Path(app.srcdir) / "reference"))
