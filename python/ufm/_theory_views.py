"""What the results of the closed forms show; used by `ufm._views`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ufm._html import Table, View, elided, number, yes_no

if TYPE_CHECKING:
    from ufm.theory.bias_only import BiasOnlyThresholds
    from ufm.theory.cosines import Cosines
    from ufm.theory.geometry import Geometry, GramMatrix
    from ufm.theory.large_samples import LargeSampleLimit, SampleScales
    from ufm.theory.nonnegative_thresholds import NonnegativeThresholds
    from ufm.theory.seli import SeliLimit
    from ufm.theory.thresholds import Thresholds
    from ufm.theory.two_clusters import CriticalRatios, ImbalanceLimit, TwoClusterThresholds

_SIZES = ("samples a class", "classes")


def _by_cluster(found: Any, **columns: str) -> Table:
    """A row a cluster; keywords name the attributes to show and their headings."""
    rows = [
        None
        if cluster is None
        else [
            number(cluster.count, 10),
            str(int(cluster.multiplicity)),
            *(number(getattr(cluster, name), 8) for name in columns),
        ]
        for cluster in elided(found.clusters)
    ]
    return Table("Clusters", (*_SIZES, *columns.values()), list(rows))


def _clusters(found: Any) -> str:
    size = len(found.clusters)
    return "1 cluster" if size == 1 else f"{size} clusters"


def _thresholds(found: Thresholds) -> View:
    facts = {
        "Z = 0 from lambda_z": number(found.lambda_max, 8),
        "lambda_b": number(found.lambda_b),
        "samples N": number(found.num_samples, 12),
        "loss": found.loss.describe(),
    }
    headline = f"{_clusters(found)}, Z = 0 from lambda_z {found.lambda_max:.8g} "
    headline += f"(lambda_b {found.lambda_b:.6g})"
    table = _by_cluster(found, collapse="merge from lambda_z")
    return View("Collapse thresholds", headline, facts, [table])


def _bias_only(found: BiasOnlyThresholds) -> View:
    facts = {
        "Z = 0 from lambda_z": number(found.lambda_max, 8),
        "clusters decouple from lambda_z": number(found.decoupling, 8),
        "lambda_b": number(found.lambda_b),
    }
    headline = f"{_clusters(found)}, decoupled from lambda_z {found.decoupling:.8g} "
    headline += f"(lambda_b {found.lambda_b:.6g})"
    table = _by_cluster(found, collapse="merge from lambda_z", bias_only="bias alone from lambda_z")
    return View("Predicted by the bias alone", headline, facts, [table])


def _nonnegative(found: NonnegativeThresholds) -> View:
    facts = {"lambda_b": number(found.lambda_b), "samples N": number(found.num_samples, 12)}
    headline = f"{_clusters(found)}, lambda_b {found.lambda_b:.6g}"
    table = _by_cluster(found, collapse="collapse from lambda_z", free="features of any sign")
    return View("Collapse thresholds, nonnegative features", headline, facts, [table])


def _two_clusters(found: TwoClusterThresholds) -> View:
    sizes = _sizes(found.sizes, found.counts)
    facts = {
        "classes": sizes,
        "ratio": number(found.ratio),
        "lambda_b": number(found.lambda_b),
        "minority merges from lambda_z": number(found.minority_collapse, 8),
        "bias alone predicts it from lambda_z": number(found.bias_only, 8),
        "majority merges from lambda_z": number(found.majority_collapse, 8),
        "Z = 0 from lambda_z": number(found.lambda_max, 8),
    }
    headline = f"{sizes}, minority merges from lambda_z {number(found.minority_collapse, 8)}"
    return View("Thresholds of two clusters", headline, facts)


def _sizes(sizes: tuple[int, int], counts: tuple[float, float]) -> str:
    return f"{sizes[0]} of {counts[0]:.10g} and {sizes[1]} of {counts[1]:.10g}"


def _critical_ratios(found: CriticalRatios) -> View:
    low, high = found.majority_separate
    facts = {
        "classes": f"{found.sizes[0]} and {found.sizes[1]}, minority of "
        f"{found.minority_count:.10g}",
        "lambda_z": number(found.lambda_z),
        "lambda_b": number(found.lambda_b),
        "minority merges from ratio": number(found.minority_collapse, 8),
        "bias alone predicts it from ratio": number(found.bias_only, 8),
        "majority separate between ratios": f"{number(low, 8)} and {number(high, 8)}",
    }
    headline = f"{found.sizes[0]} and {found.sizes[1]} classes, lambda_z {found.lambda_z:.6g}, "
    headline += f"minority merges from ratio {number(found.minority_collapse, 8)}"
    return View("Critical ratios", headline, facts)


def _imbalance_limit(found: ImbalanceLimit) -> View:
    law = f"{found.coefficient:.6g} / N^{found.exponent:.6g}"
    facts = {
        "classes": f"{found.sizes[0]} and {found.sizes[1]}, minority of "
        f"{found.minority_count:.10g}",
        "lambda_z": law,
        "minority collapsed": yes_no(found.minority_collapses),
        "majority collapsed": yes_no(found.majority_collapses),
        "minority turns at ratio": number(found.minority_turns_at),
    }
    headline = f"lambda_z = {law}, minority collapsed: {facts['minority collapsed']}, "
    headline += f"majority: {facts['majority collapsed']}"
    return View("Ratio to infinity", headline, facts)


def _sample_scales(found: SampleScales) -> View:
    facts = {
        "lambda_z": number(found.lambda_z),
        "lambda_b": number(found.lambda_b),
        "Z = 0 from counts times": number(found.vanishing),
    }
    headline = f"{_clusters(found)}, Z = 0 from counts times {number(found.vanishing)}"
    table = _by_cluster(found, collapse="merge from times", bias_only="bias alone from times")
    return View("More samples at fixed lambda_z", headline, facts, [table])


def _large_samples(found: LargeSampleLimit) -> View:
    counts = found.limit.cluster_count
    facts = {
        "lambda_z N": number(found.scaled_lambda_z),
        "samples N at s = 1": number(found.num_samples, 12),
    }
    limit, rate = found.limit.cosines().within, found.cosine_rate()
    rows = [
        None if i is None else [number(counts[i], 10), number(limit[i]), number(rate[i, i], 5)]
        for i in elided(range(counts.size))
    ]
    columns = ("samples a class", "cosine inside", "plus this over log s")
    table = Table("Counts times s, s to infinity", columns, list(rows))
    headline = f"{found.limit.counts.size} classes, lambda_z N = {number(found.scaled_lambda_z)}"
    return View("Limit of many samples", headline, facts, [table])


def _seli(found: SeliLimit) -> View:
    kind = "I - p 1^T" if found.unregularised_bias else "I - J/K"
    facts = {"classes": str(found.counts.size), "Z / log(1/lambda_z) tends to": kind}
    w, h = found.classifier, found.class_means
    values = (w.matrix.own, w.cosines.within, h.matrix.own, h.cosines.within)
    rows = [
        None
        if i is None
        else [
            number(found.cluster_count[i], 10),
            str(int(found.multiplicity[i])),
            *(number(float(value[i]), 5) for value in values),
        ]
        for i in elided(range(found.cluster_count.size))
    ]
    columns = (*_SIZES, "|w|^2", "cosine of w", "|h|^2", "cosine of h")
    headline = f"{found.counts.size} classes, Z / log(1/lambda_z) tends to {kind}"
    table = Table("Clusters, up to a common factor", columns, list(rows))
    return View("Limit of vanishing lambda_z", headline, facts, [table])


def _geometry(found: Geometry) -> View:
    facts = {"lambda_W": number(found.lambda_w), "lambda_H": number(found.lambda_h)}
    w, h = found.classifier, found.class_means
    values = (w.norms, w.cosines.within, h.norms, h.cosines.within)
    rows = [
        None
        if i is None
        else [number(w.count[i], 10), *(number(float(value[i]), 5) for value in values)]
        for i in elided(range(w.count.size))
    ]
    columns = ("samples a class", "|w|", "cosine of w", "|h|", "cosine of h")
    headline = f"{w.matrix.cluster_of.size} classes in {w.count.size} clusters, "
    headline += f"lambda_W {number(found.lambda_w)}, lambda_H {number(found.lambda_h)}"
    table = Table("Clusters", columns, list(rows))
    return View("Geometry of classifier and class means", headline, facts, [table])


def _gram(found: GramMatrix) -> View:
    cosines = _cosines(found.cosines)
    headline = f"{found.matrix.cluster_of.size} vectors in {found.count.size} clusters"
    norms = [
        None if i is None else [number(found.count[i], 10), number(float(found.norms[i]), 5)]
        for i in elided(range(found.count.size))
    ]
    tables = [Table("Norms", ("samples a class", "norm"), list(norms)), *cosines.tables]
    return View("Inner products of one vector per class", headline, cosines.facts, tables)


def _cosines(found: Cosines) -> View:
    from ufm._views import matrix_table

    size, clusters = found.matrix.cluster_of.size, found.count.size
    names = [number(value, 10) for value in found.count]
    table = matrix_table("Cosines of two different classes", _SIZES[0], names, found.between)
    facts = {"classes": str(size), "clusters": str(clusters)}
    return View("Cosines", f"{size} classes in {clusters} clusters", facts, [table])


THEORY_VIEWS: dict[str, Callable[[Any], View]] = {
    "Thresholds": _thresholds,
    "BiasOnlyThresholds": _bias_only,
    "NonnegativeThresholds": _nonnegative,
    "TwoClusterThresholds": _two_clusters,
    "CriticalRatios": _critical_ratios,
    "ImbalanceLimit": _imbalance_limit,
    "SampleScales": _sample_scales,
    "LargeSampleLimit": _large_samples,
    "SeliLimit": _seli,
    "Geometry": _geometry,
    "GramMatrix": _gram,
    "Cosines": _cosines,
}
