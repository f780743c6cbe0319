"""Code with prompts in Markdown pages is run by Sphinx's doctest builder.

A fenced block of the language ``pycon`` reads well on a code-hosting site, but Sphinx would take it
for text. Blocks of one page share their names, from top to bottom. A page that says ``requires:
torch`` in its front matter is left to tests/test_torch_docs.py where PyTorch is not installed.
"""

from __future__ import annotations

import importlib.util

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _mark(app, doctree):
    required = app.env.metadata.get(app.env.docname, {}).get("requires", "").split()
    missing = [name for name in required if importlib.util.find_spec(name) is None]
    if missing:
        logger.info("%s: code not run, no %s", app.env.docname, ", ".join(missing))
        return
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") == "pycon":
            block["testnodetype"] = "doctest"
            block["groups"] = ["default"]


def setup(app):
    app.connect("doctree-read", _mark)
    return {"parallel_read_safe": True, "version": "1"}
