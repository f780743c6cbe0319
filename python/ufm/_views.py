"""What each result shows: :func:`view_of` gives its line of text and its tables.

Nothing here holds more than C x C numbers that the result does not hold already, and no table has
more than some ten rows, so that looking at a result of very many classes costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ufm._html import Table, View, elided, number, yes_no

if TYPE_CHECKING:
    from ufm.batch import Batch
    from ufm.comparison import Comparison
    from ufm.metrics import Report
    from ufm.planning.advice import Advice
    from ufm.planning.path import Path
    from ufm.solution import Solution
    from ufm.theory._cluster_matrix import ClusterMatrix
    from ufm.theory._layer_peeled import LayerPeeledSolution
    from ufm.theory.confusion import Confusion
    from ufm.torch import Collected

# The rank of more clusters takes a singular value decomposition that a glance should not cost.
_MOST_CLUSTERS_FOR_RANK = 256
# Which of two theories is nearer takes both K x K predictions, entry by entry.
_MOST_CLASSES_FOR_BEST = 1000


def view_of(result: object) -> View:
    """What a result shows; a subclass shows what its base does."""
    from ufm._theory_views import THEORY_VIEWS

    known: dict[str, Callable[[Any], View]] = {**_VIEWS, **THEORY_VIEWS}
    for base in type(result).__mro__:
        if base.__name__ in known:
            return known[base.__name__](result)
    raise TypeError(f"nothing is known about how to show a {type(result).__name__}")


def rows_of(items: Sequence[Any], cells: Callable[[Any], Sequence[str]]) -> list[Any]:
    """Cells of the first and last items; None where others are left out."""
    return [None if item is None else cells(item) for item in elided(items)]


def _after_colon(text: str) -> str:
    """The part of a repr that tells something: without brackets and name."""
    return text.strip("<>").split(": ", 1)[-1]


# ---------------------------------------------------------------------- solutions


def _certificate(found: Any) -> dict[str, str]:
    return {
        "status": f"{found.status.name}: {found.status.value}",
        "objective": number(found.objective, 12),
        "dual objective (lower bound)": number(found.dual_objective, 12),
        "relative gap": f"{found.relative_gap:.2e} (tolerance {found.tol:.0e})",
    }


def _solution(solution: Solution) -> View:
    facts = {
        "classes": f"{solution.num_classes} in {solution.num_clusters} clusters",
        "samples N": number(float(solution.counts.sum()), 12),
        "lambda_z": number(solution.lambda_z),
        "lambda_b": number(solution.lambda_b),
    }
    if not solution.loss.is_weighted_cross_entropy or solution.loss.has_class_weights:
        facts["loss"] = solution.loss.describe()
    facts |= _certificate(solution)
    if solution.known_rank is not None or solution.num_clusters <= _MOST_CLUSTERS_FOR_RANK:
        facts["rank of Z"] = str(solution.rank)
    merged = int(solution.collapsed.sum())
    facts["collapsed"] = f"{merged} classes share a mean prediction"
    facts["took"] = (
        f"{solution.iterations} iterations, {number(solution.seconds, 3)} s, "
        f"{solution.method} ({solution.linear_algebra})"
    )
    notes = ["z_kk is a class's own mean logit, without the bias b_k."]
    if not getattr(solution, "dual_bound_is_exact", True):
        notes.append("The gap is an upper bound: the dual bound was not found exactly.")
    title = "Unconstrained feature model"
    if type(solution).__name__ == "NonnegativeSolution":
        title += ", nonnegative features"
    headline = _after_colon(repr(solution))
    return View(title, headline, facts, [_clusters(solution)], notes)


def _clusters(solution: Solution) -> Table:
    """A row a cluster, from arrays: ``solution.clusters`` would make all of them."""
    own, _ = solution._diagonals
    bias = solution.scaled_bias / np.sqrt(solution.multiplicity)
    collapsed = solution._cluster_collapsed

    def cells(i: int) -> list[str]:
        several = solution.multiplicity[i] > 1
        verdict = "merged" if collapsed[i] else "separate" if several else "single"
        values = (float(own[i]), float(bias[i]))
        return [
            number(float(solution.cluster_count[i]), 10),
            f"{int(solution.multiplicity[i])}",
            verdict,
            *(f"{value:.4f}" for value in values),
        ]

    columns = ("samples a class", "classes", "verdict", "z_kk", "b_k")
    return Table("Clusters", columns, rows_of(range(solution.num_clusters), cells))


def _layer_peeled(found: LayerPeeledSolution) -> View:
    facts = {
        "classes": str(found.num_classes),
        "samples N": number(float(found.counts.sum()), 12),
        "constraint": f"{found.constraint}: energies {number(found.energy_w)} (W), "
        f"{number(found.energy_h)} (H)",
        "lambda_b": number(found.lambda_b),
        "loss": found.loss.describe(),
        **_certificate(found),
        "lambda_z (multiplier)": number(found.lambda_z),
        "collapsed": f"{int(found.collapsed.sum())} classes share a mean prediction",
        "took": f"{found.solves} solves, {number(found.seconds, 3)} s",
    }
    return View("Layer-peeled model", _after_colon(repr(found)), facts)


def _batch(batch: Batch) -> View:
    size = len(batch)
    facts = {"problems": str(size)}
    if size:
        facts |= {
            "converged": f"{int(batch.converged.sum())} (tolerance {batch.tol:.0e})",
            "largest relative gap": f"{float(batch.relative_gap.max()):.2e}",
            "wall time": f"{number(batch.wall_seconds, 3)} s",
        }

    def cells(i: int) -> list[str]:
        return [
            str(i),
            str(int(batch.num_classes[i])),
            number(float(batch.lambda_z[i])),
            number(float(batch.lambda_b[i])),
            number(float(batch.objective[i]), 8),
            f"{float(batch.relative_gap[i]):.1e}",
            batch.status[i].name,
            str(int(batch.collapsed_classes[i])),
        ]

    columns = ("problem", "K", "lambda_z", "lambda_b", "objective", "gap", "status", "collapsed")
    table = Table("Problems", columns, rows_of(range(size), cells))
    headline = _after_colon(repr(batch))
    return View("Batch of solutions", headline, facts, [table] if size else [])


# ---------------------------------------------------------------------- planning


def _advice(advice: Advice) -> View:
    from ufm.planning import _wording as wording
    from ufm.planning._options import options

    facts = {
        "classes": str(advice.counts.size),
        "samples N": number(advice.num_samples, 12),
        "lambda_z": number(advice.lambda_z),
        "lambda_b": number(advice.lambda_b),
        "checked": f"{'confirmed' if advice.confirmed else 'NOT confirmed'} by "
        f"{len(advice.checks)} solves",
        "verdict": advice.verdict,
    }
    columns = [name.replace("\n", " ") for name in wording.COLUMNS]
    tables = [Table("Sizes", columns, rows_of(wording.ranges(advice), wording.row))]
    ways = options(advice)
    if ways:
        cells = [(way.name, way.action, way.cost) for way in ways]
        caption = f"To keep classes apart (margin {advice.margin:.3g}), either"
        tables.append(Table(caption, ("change", "how", "cost"), list(cells), True))
    return View("Which classes merge", _after_colon(repr(advice)), facts, tables)


def _path(path: Path) -> View:
    facts = {
        "solutions": f"{len(path)}, {path.num_solves} problems solved",
        "lambda_z": f"{number(float(path.lambda_z[0]))} to {number(float(path.lambda_z[-1]))}",
        "rank of Z": f"{path.rank[0]} to {path.rank[-1]}",
        "converged": yes_no(path.converged),
    }
    rows = rows_of(
        path.events,
        lambda event: (
            number(event.lambda_z, 7),
            f"{event.rank_below} to {event.rank_above}",
            event.kind,
            number(event.predicted, 7),
        ),
    )
    columns = ("lambda_z", "rank", "kind", "closed form")
    tables = [Table("Changes of rank", columns, rows)] if rows else []
    return View("Solutions along lambda_z", _after_colon(repr(path)), facts, tables)


# ---------------------------------------------------------------------- networks


def _comparison(found: Comparison) -> View:
    names = [fit.name for fit in found.fits]
    facts = {
        "classes": str(found.counts.size),
        "samples N": number(float(found.counts.sum()), 12),
        "lambda_z": number(found.lambda_z),
        "lambda_b": number(found.lambda_b),
        "predictions": ", ".join(f"{f.name} {f.solution.status.name}" for f in found.fits),
    }
    if len(names) > 1 and found.counts.size <= _MOST_CLASSES_FOR_BEST:
        best = found.best
        facts["nearer theory"] = "both predict the same Z" if best is None else best.name
    facts["verdicts as predicted"] = ", ".join(f"{f.name} {yes_no(f.agrees)}" for f in found.fits)
    measures = [("Z, relative", "Z_relative"), ("Z, root mean square, logits", "Z_rms")]
    measures += [("Z, largest, logits", "Z_max")]
    if found.b is not None:
        measures += [("b, relative", "b_relative"), ("b centred, relative", "b_centred_relative")]
    errors: list[Sequence[str] | None] = [
        (text, *(number(getattr(fit.errors, name), 4) for fit in found.fits))
        for text, name in measures
    ]
    tables = [
        Table("Errors against the theory of", ("error", *names), errors),
        Table("Clusters", ("samples a class", "classes", "measured", *names), _verdicts(found)),
    ]
    headline = f"{found.counts.size} classes beside {' and '.join(names)} features, relative error "
    headline += "of Z " + ", ".join(number(fit.errors.Z_relative, 3) for fit in found.fits)
    notes = ["In brackets: spread of the cluster's mean predictions in logits."]
    return View("A network beside the theory", headline, facts, tables, notes)


def _verdicts(found: Comparison) -> list[Any]:
    def told(collapsed: bool | None, spread: float) -> str:
        if collapsed is None:
            return "single"
        return f"{'merged' if collapsed else 'separate'} ({spread:.1e})"

    def cells(i: int) -> list[str]:
        cluster = found.clusters[i]
        return [
            number(cluster.count, 10),
            str(cluster.multiplicity),
            told(cluster.collapsed, cluster.spread),
            *(told(fit.collapsed[i], fit.spreads[i]) for fit in found.fits),
        ]

    return rows_of(range(len(found.clusters)), cells)


def _report(report: Report) -> View:
    facts = {"classes": str(report.num_classes), "samples N": number(report.num_samples, 12)}
    rows: list[Sequence[str] | None] = [
        (name, number(value)) for name, value in report.to_dict().items()
    ]
    headline = f"K = {report.num_classes}, N = {report.num_samples:.10g}"
    if report.nc1 is not None:
        headline += f", NC1 {number(report.nc1.value)}"
    table = Table("Metrics", ("metric", "value"), rows)
    return View("Collapse metrics", headline, facts, [table], report.warnings)


def _collected(found: Collected) -> View:
    facts = {
        "classes": str(found.W.shape[0]),
        "feature dimension": str(found.W.shape[1]),
        "samples N": number(float(np.sum(found.counts)), 12),
        "accuracy": number(found.accuracy, 4),
        "mean cross-entropy": number(found.loss, 4),
    }

    def cells(k: int) -> list[str]:
        return [
            str(k),
            number(float(found.counts[k]), 10),
            number(float(found.class_accuracy[k]), 4),
            number(float(found.class_loss[k]), 4),
        ]

    columns = ("class", "samples", "accuracy", "cross-entropy")
    table = Table("Classes", columns, rows_of(range(found.W.shape[0]), cells))
    headline = f"{facts['classes']} classes, {facts['samples N']} samples, "
    headline += f"accuracy {facts['accuracy']}"
    return View("A model measured", headline, facts, [table])


# ---------------------------------------------------------------------- predictions


def _confusion(found: Confusion) -> View:
    facts = {
        "expected accuracy on the samples": number(found.training_accuracy, 4),
        "averaged over classes": number(found.balanced_accuracy, 4),
    }
    rows = rows_of(
        found.clusters,
        lambda cluster: (
            number(cluster.count, 10),
            str(cluster.multiplicity),
            number(cluster.own_probability, 4),
            number(cluster.margin, 4),
            number(cluster.accuracy, 4),
            str(cluster.num_predicted),
        ),
    )
    columns = ("samples a class", "classes", "own probability", "margin", "accuracy", "tied")
    headline = f"{found.solution.num_classes} classes, accuracy on the samples "
    headline += f"{facts['expected accuracy on the samples']}"
    return View("Predicted classes", headline, facts, [Table("Clusters", columns, rows)])


def matrix_table(
    caption: str, kind: str, names: Sequence[str], values: np.ndarray[Any, Any]
) -> Table:
    """A square table of numbers, both sides elided where it is large."""
    shown = elided(range(len(names)))
    columns = [
        "samples a class",
        *("\N{HORIZONTAL ELLIPSIS}" if j is None else names[j] for j in shown),
    ]
    rows: list[Sequence[str] | None] = [
        None
        if i is None
        else [names[i], *("" if j is None else number(float(values[i, j]), 5) for j in shown)]
        for i in shown
    ]
    return Table(caption, columns, rows)


def _cluster_matrix(matrix: ClusterMatrix) -> View:
    size, clusters = matrix.cluster_of.size, matrix.own.size
    names = [str(i) for i in range(clusters)]
    headline = f"{size} x {size} entries told by {clusters} clusters"
    own: Iterable[str] = (number(float(value), 5) for value in matrix.own[:10])
    facts = {
        "entries": f"{size} x {size}",
        "clusters": str(clusters),
        "entry (k, k)": ", ".join(own),
    }
    if clusters > 10:
        facts["entry (k, k)"] += ", \N{HORIZONTAL ELLIPSIS}"
    table = matrix_table("Entries of two different classes", "cluster", names, matrix.between)
    return View("Matrix over classes", headline, facts, [table])


_VIEWS: dict[str, Callable[[Any], View]] = {
    "Solution": _solution,
    "LayerPeeledSolution": _layer_peeled,
    "Batch": _batch,
    "Advice": _advice,
    "Path": _path,
    "Comparison": _comparison,
    "Report": _report,
    "Collected": _collected,
    "Confusion": _confusion,
    "ClusterMatrix": _cluster_matrix,
}
