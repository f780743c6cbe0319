"""Docstrings of plain text, made into reStructuredText when the reference is built.

In the source, formulas stand in indented paragraphs and norms between bars. Sphinx would set the
former as quotations and take the latter for substitutions.
"""

from __future__ import annotations

import re

_LITERAL = re.compile(r"(``.*?``)")


def escape_bars(line):
    """A line of text with its bars escaped, but for what stands in double backquotes."""
    parts = _LITERAL.split(line)
    return "".join(p if p.startswith("``") else p.replace("|", r"\|") for p in parts)


def _indent(line):
    return len(line) - len(line.lstrip())


def rewrite(lines):
    """The lines with indented formulas as literal blocks and bars escaped elsewhere."""
    written = []
    previous = ""  # the last line with text
    literal = False
    code = False
    for line in lines:
        if not line.strip():
            code = False
            written.append(line)
            continue
        after_blank = not written or not written[-1].strip()
        if literal and _indent(line) == 0:
            literal = False
        if after_blank and not literal and _indent(line) and previous and not _indent(previous):
            literal = True
            if not previous.rstrip().endswith("::"):
                written += [".. code-block:: text", ""]
        code = code or line.lstrip().startswith(">>>")
        written.append(line if literal or code else escape_bars(line))
        previous = line
    return written


def _docstring(app, what, name, obj, options, lines):
    lines[:] = rewrite(lines)


def _command_text(app, ctx, lines):
    # Lines that begin with ".." are directives, whose heads take bars as they are.
    lines[:] = [line if line.startswith("..") else escape_bars(line) for line in lines]


def setup(app):
    # Before numpydoc takes the docstring apart.
    app.connect("autodoc-process-docstring", _docstring, priority=400)
    if "sphinx_click" in app.extensions:
        for part in ("description", "options", "arguments", "epilog"):
            app.connect(f"sphinx-click-process-{part}", _command_text)
    return {"parallel_read_safe": True, "version": "1"}
