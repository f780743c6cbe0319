"""How Sphinx builds these pages; see README.md for the commands."""

from __future__ import annotations

import dataclasses
import doctest
import importlib.util
import os
import sys
from pathlib import Path

# A warning of matplotlib's about the missing screen would end up in the gallery.
os.environ.setdefault("MPLBACKEND", "Agg")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

import ufm  # noqa: E402

project = "ufm"
author = "The ufm developers"
copyright = author
version = release = ufm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinx_click",
    "sphinx_copybutton",
    "page_doctests",
    "plain_docstrings",
]
if importlib.util.find_spec("sphinx-mathjax-offline"):
    extensions.append("sphinx-mathjax-offline")  # formulas without a network

# README.md is the folder's page on a code-hosting site, index.md the site's first page.
exclude_patterns = ["_build", "README.md", "gallery", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
smartquotes = False  # quotation marks are mostly those of code
highlight_language = "none"  # blocks that do not name theirs are output
default_role = "code"  # names of parameters in docstrings
nitpicky = True
# Other projects' objects, which only their own sites describe.
nitpick_ignore = [("py:class", "torchmetrics.Metric")]

# ------------------------------------------------------------------ pages in Markdown

myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline"]
myst_heading_anchors = 3
# "$" and a digit is money or a shell variable, not a formula.
myst_dmath_allow_digits = False
myst_dmath_double_inline = True

# Pages that stand beside the code they describe, included here by pages of these names.
_OUTSIDE = {"../bench/README.md": "bench.md", "../examples/README.md": "examples.md"}


def _point_inside(app, name, source):
    up = "../" * name.count("/")
    for outside, page in _OUTSIDE.items():
        source[0] = source[0].replace(f"]({up}{outside}", f"]({up}{page}")


# ------------------------------------------------------------------ API reference

autosummary_generate = True
autodoc_typehints = "none"  # the sections of the docstrings tell types, shapes and units
autodoc_member_order = "bysource"
# What needs a library that is not installed here is documented without running it.
autodoc_mock_imports = [
    name
    for name in ("torch", "torchmetrics", "sklearn", "PIL", "distributed")
    if importlib.util.find_spec(name) is None
]
numpydoc_show_class_members = False  # the class template lists members with autodoc
numpydoc_xref_param_type = False

# ------------------------------------------------------------------ examples that are run

doctest_default_flags = doctest.ELLIPSIS

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "image_scrapers": ("figure_scraper.scrape",),
    "capture_repr": ("_repr_html_", "__repr__"),
    "ignore_repr_types": r"matplotlib",
    "write_computation_times": False,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 60,
    "remove_config_comments": True,
    "nested_sections": False,
    # Names in the code of the examples lead to the reference.
    "doc_module": ("ufm",),
    "backreferences_dir": None,
    "reference_url": {"ufm": None},
}

# ------------------------------------------------------------------ links

# Checked by `sphinx-build -b linkcheck` where there is a network; links inside these pages are
# checked by every build.
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_workers = 4
linkcheck_report_timeouts_as_broken = False

# ------------------------------------------------------------------ what it looks like

html_theme = "furo"
html_title = f"ufm {release}"
html_static_path = ["_static"]
html_css_files = ["ufm.css"]
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"


def _hide_signature(app, what, name, obj, options, signature, return_annotation):
    """Leave out the many arguments of records that only the package makes."""
    made_here = dataclasses.is_dataclass(obj) and "Parameters\n" not in (obj.__doc__ or "")
    if what == "class" and made_here:
        return "", None
    return None


def setup(app):
    app.connect("autodoc-process-signature", _hide_signature)
    app.connect("source-read", _point_inside)
