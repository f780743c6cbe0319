"""Pictures of gallery examples: every new matplotlib figure that a block leaves in its names.

`ufm.figures` makes figures without pyplot, which is where the gallery would look for them.
"""

from __future__ import annotations

from sphinx_gallery.scrapers import figure_rst


def scrape(block, block_vars, gallery_conf):
    from matplotlib.figure import Figure

    seen = block_vars.setdefault("seen_figures", [])
    paths = []
    for value in list(block_vars["example_globals"].values()):
        if not isinstance(value, Figure) or any(value is figure for figure in seen):
            continue
        seen.append(value)
        path = next(block_vars["image_path_iterator"])
        value.savefig(path, dpi=110, bbox_inches="tight", facecolor="white")
        paths.append(path)
    return figure_rst(paths, gallery_conf["src_dir"])
