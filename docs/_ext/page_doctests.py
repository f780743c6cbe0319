"""Code with prompts in Markdown pages is run by Sphinx's doctest builder.

A fenced block of the language ``pycon`` reads well on a code-hosting site, but Sphinx would take it
for text. Blocks of one page share their names, from top to bottom. Where PyTorch is not installed,
a block that mentions it and the rest of its section are left out, and so are the examples of
ufm.torch; the build says so. tests/test_torch_docs.py runs those pages whole.
"""

from __future__ import annotations

import importlib.util
import re

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
MENTION = re.compile(r"^(>>>|\.\.\.).*\btorch\b", re.MULTILINE)
WITHOUT_TORCH = importlib.util.find_spec("torch") is None


def _sections(node):
    while node is not None:
        if isinstance(node, nodes.section):
            yield id(node)
        node = node.parent


def _mark(app, doctree):
    left_out = set()
    skipped = 0
    if WITHOUT_TORCH and app.env.docname.startswith("generated/api/ufm.torch."):
        for block in doctree.findall(nodes.doctest_block):  # an example of a docstring
            block["skipif"] = "True"
            skipped += 1
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") != "pycon":
            continue
        # Expected output ends with an empty line, which need not be shown.
        block.rawsource = block.astext().rstrip("\n")
        block[:] = [nodes.Text(block.rawsource)]
        if WITHOUT_TORCH and MENTION.search(block.rawsource):
            left_out.add(next(_sections(block), None))
        if left_out.intersection(_sections(block)):
            skipped += 1
            continue
        block["testnodetype"] = "doctest"
        block["groups"] = ["default"]
    if skipped and app.builder.name == "doctest":
        message = "%s: %d blocks not run, they need PyTorch"
        logger.info(message, app.env.docname, skipped, color="yellow")


def setup(app):
    app.connect("doctree-read", _mark)
    return {"parallel_read_safe": True, "version": "2"}
