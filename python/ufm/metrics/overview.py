"""All collapse metrics of one network at once: :func:`report`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ufm._html import Shown
from ufm.metrics._arrays import Array, MetricWarning, as_float64, check_classes, to_numpy
from ufm.metrics.alignment import NC3, UNC3, nc3, unc3
from ufm.metrics.angles import GNC2, NC2, gnc2, nc2
from ufm.metrics.decision import bias_cancellation
from ufm.metrics.statistics import ClassStatistics
from ufm.metrics.variability import (
    CDNV,
    CONVENTIONS,
    NC1,
    TraceRatio,
    cdnv,
    global_mean,
    nc1,
    nc1_trace_ratio,
)
from ufm.problem import check_choice


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """The collapse metrics of one network; None where something they need was not given.

    Attributes
    ----------
    num_classes : int
        Classes with samples; only they enter.
    num_empty : int
        Classes without.
    num_samples : float
        N.
    nc1, trace_ratio, cdnv, nc2, gnc2, nc3, unc3
        Results of the functions of the same names.
    bias_cancellation : float or None
        ||W mu + b||.
    """

    num_classes: int
    num_empty: int
    num_samples: float
    nc1: NC1 | None
    trace_ratio: TraceRatio
    cdnv: CDNV | None
    nc2: NC2 | None
    gnc2: GNC2 | None
    nc3: NC3 | None
    unc3: UNC3 | None
    bias_cancellation: float | None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the values do not mean, each remark once."""
        results = (self.nc1, self.trace_ratio, self.cdnv, self.nc2, self.gnc2, self.nc3, self.unc3)
        remarks: list[str] = []
        if self.num_empty:
            remarks.append(f"{self.num_empty} classes have no samples and are left out")
        for result in results:
            remarks += [] if result is None else list(result.warnings)
        return tuple(dict.fromkeys(remarks))

    def to_dict(self) -> dict[str, float]:
        """The numbers by name, without those that were not computed."""
        values: dict[str, float] = {}
        if self.nc1 is not None:
            values |= {"nc1": self.nc1.value, "nc1_rank": self.nc1.rank}
        values["trace_ratio"] = self.trace_ratio.value
        if self.cdnv is not None:
            values |= {"cdnv_mean": self.cdnv.mean, "cdnv_max": self.cdnv.max}
        if self.nc2 is not None:
            values |= {
                "nc2_norm_variation": self.nc2.norm_variation,
                "nc2_cosine_deviation": self.nc2.cosine_deviation,
                "nc2_equiangularity": self.nc2.equiangularity,
                "nc2_gram_distance": self.nc2.gram_distance,
            }
        if self.gnc2 is not None:
            values |= {"gnc2_mean": self.gnc2.mean, "gnc2_variance": self.gnc2.variance}
        if self.nc3 is not None:
            values |= {
                "nc3_self_duality": self.nc3.self_duality,
                "nc3_product_distance": self.nc3.product_distance,
            }
        if self.unc3 is not None:
            values |= {"unc3_variance": self.unc3.variance, "unc3_mean": self.unc3.mean}
        if self.bias_cancellation is not None:
            values["bias_cancellation"] = self.bias_cancellation
        return values

    def summary(self) -> str:
        """A line a number, then the remarks."""
        lines = [f"Collapse metrics: K = {self.num_classes}, N = {self.num_samples:.10g}"]
        lines += [f"  {name:<22} {value:.6g}" for name, value in self.to_dict().items()]
        lines += [f"  note: {remark}" for remark in self.warnings]
        return "\n".join(lines)


def report(
    statistics: ClassStatistics,
    W: Array | None = None,
    b: Array | None = None,
    *,
    convention: str = "class-weighted",
    pairs: bool = True,
) -> Report:
    """NC1, CDNV, NC2, GNC2, NC3, UNC3 and the bias's part, from statistics and classifier.

    Remarks are kept in the report instead of being issued as warnings.

    Parameters
    ----------
    statistics : ClassStatistics
        From :func:`class_statistics`, an accumulator of :mod:`ufm.torch` or
        :func:`ufm.torch.collect`. NC1 needs its covariance.
    W : array or tensor of shape (K, d), optional
        Classifier.
    b : array or tensor of shape (K,), optional
        Its bias.
    convention : {"class-weighted", "unweighted", "neural-collapse"}
        Of NC1; its global mean is used everywhere. See :data:`CONVENTIONS`.
    pairs : bool
        Whether to compute what takes all K^2 pairs of classes: CDNV, NC2 and GNC2.

    Returns
    -------
    Report

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> from ufm import metrics
    >>> rng = np.random.default_rng(0)
    >>> labels = np.repeat([0, 1, 2], [50, 50, 10])
    >>> features = 5 * np.eye(3, 4)[labels] + 0.1 * rng.standard_normal((110, 4))
    >>> found = metrics.report(metrics.class_statistics(features, labels), W=5 * np.eye(3, 4))
    >>> found.nc1.value < 0.01, sorted(found.to_dict())[:3]
    (True, ['bias_cancellation', 'cdnv_max', 'cdnv_mean'])
    """
    rule = CONVENTIONS[check_choice("convention", convention, tuple(CONVENTIONS))]
    if W is None and b is not None:
        raise ValueError("b must not be given without W")
    if not isinstance(statistics, ClassStatistics):
        raise TypeError(
            f"statistics must be ClassStatistics, as class_statistics gives, got {statistics!r:.80}"
        )
    present = statistics.present()
    M, counts = present.means, present.counts
    mu = global_mean(M, counts, rule.mean)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)
        of_classifier: dict[str, Any] = {"nc3": None, "unc3": None, "bias_cancellation": None}
        if W is not None:
            of_classifier = _of_classifier(statistics, W, b, M, mu)
        covariance = present.covariance
        return Report(
            num_classes=present.num_classes,
            num_empty=statistics.num_classes - present.num_classes,
            num_samples=present.num_samples,
            nc1=None if covariance is None else nc1(M, covariance, counts, convention=convention),
            trace_ratio=nc1_trace_ratio(
                M, present.within_trace, counts, weights=rule.weights, mean=rule.mean
            ),
            cdnv=cdnv(M, present.variances, _few_clusters(counts)) if pairs else None,
            nc2=nc2(M, mu) if pairs else None,
            gnc2=gnc2(M, mu) if pairs else None,
            **of_classifier,
        )


def _of_classifier(
    statistics: ClassStatistics, W: Array, b: Array | None, M: Array, mu: Array
) -> dict[str, Any]:
    W = as_float64("W", W, 2, like=M)
    check_classes("W", W, statistics.num_classes)
    seen = statistics.counts > 0
    W = W[seen]
    if b is not None:
        b = as_float64("b", b, 1, like=M)
        check_classes("b", b, statistics.num_classes)
        b = b[seen]
    return {
        "nc3": nc3(W, M, mu),
        "unc3": unc3(W, M, mu),
        "bias_cancellation": bias_cancellation(W, mu, b),
    }


# More clusters than this would make the table of their pairs large.
_MOST_CLUSTERS = 256


def _few_clusters(counts: Array) -> Any:
    values, clusters = np.unique(-to_numpy(counts), return_inverse=True)
    return clusters.reshape(-1) if values.size <= _MOST_CLUSTERS else None
