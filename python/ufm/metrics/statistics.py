"""Class means and within-class scatter in one pass: :func:`class_statistics`.

Sums of squares minus the square of a sum cancel exactly where collapse makes things interesting.
So every class keeps its mean and the scatter around it, and parts are merged by the rule of Chan,
Golub and LeVeque: only nonnegative terms are ever added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ufm.metrics._arrays import (
    Array,
    as_float64,
    as_labels,
    as_matrix,
    blocks,
    class_sums,
    namespace,
    zeros,
)
from ufm.problem import check_limit


@dataclass(eq=False)
class Moments:
    """Counts, means and scatter that batches are added to in place.

    Attributes
    ----------
    counts : array of shape (K,)
        Samples per class, or their weight.
    means : array of shape (K, d)
        Zero for a class without samples.
    spread : array of shape (K,)
        Sum over the samples of a class of their squared distance to the class mean.
    scatter : array of shape (d, d) or None
        Sum over all samples of (h - m)(h - m)^T with m the mean of their class.
    """

    counts: Array
    means: Array
    spread: Array
    scatter: Array | None

    @classmethod
    def empty(cls, num_classes: int, dim: int, covariance: bool, like: Array) -> Moments:
        """No samples yet."""
        return cls(
            counts=zeros((num_classes,), like),
            means=zeros((num_classes, dim), like),
            spread=zeros((num_classes,), like),
            scatter=zeros((dim, dim), like) if covariance else None,
        )

    def add_batch(self, features: Array, labels: Array, weights: Array | None = None) -> None:
        """Add float64 features of shape (B, d) with int64 labels of shape (B,)."""
        if features.shape[0] == 0:
            return
        num_classes = self.counts.shape[0]
        present: Any = slice(None)
        if num_classes > features.shape[0]:
            # A batch that holds few of very many classes must not touch the others.
            present, labels = _unique(labels)
            num_classes = present.shape[0]
        batch = _of_batch(features, labels, weights, num_classes, self.scatter is not None)
        self._merge(batch, present)

    def merge(self, other: Moments) -> None:
        """Add the samples of another part."""
        self._merge(other, slice(None))

    def _merge(self, other: Moments, present: Any) -> None:
        # `present` are the classes of self that other's rows stand for.
        xp = namespace(self.means)
        counts, means = self.counts[present], self.means[present]
        total = counts + other.counts
        share = other.counts / xp.where(total > 0, total, xp.ones_like(total))
        change = other.means - means
        # n_a n_b / (n_a + n_b): zero where one side has no samples.
        between = counts * share
        self.counts[present] = total
        self.means[present] = means + change * share[:, None]
        spread = other.spread + between * (change * change).sum(axis=1)
        self.spread[present] = self.spread[present] + spread
        if self.scatter is not None:
            if other.scatter is None:
                raise ValueError("both parts must have a covariance, or neither")
            self.scatter += other.scatter + (change * between[:, None]).T @ change


def _unique(labels: Array) -> tuple[Array, Array]:
    classes, inverse = namespace(labels).unique(labels, return_inverse=True)
    return classes, inverse.reshape(-1)


def _of_batch(
    features: Array, labels: Array, weights: Array | None, num_classes: int, covariance: bool
) -> Moments:
    xp = namespace(features)
    if weights is None:
        weights = xp.ones_like(features[:, 0])
    counts = class_sums(weights[:, None], labels, num_classes)[:, 0]
    means = class_sums(features * weights[:, None], labels, num_classes)
    means = means / xp.where(counts > 0, counts, xp.ones_like(counts))[:, None]
    centred = features - means[labels]
    weighted = centred * weights[:, None]
    squares = (weighted * centred).sum(axis=1)
    spread = class_sums(squares[:, None], labels, num_classes)[:, 0]
    return Moments(counts, means, spread, weighted.T @ centred if covariance else None)


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """What the collapse metrics need of the features.

    Attributes
    ----------
    counts : array of shape (K,)
        n_k, samples per class (or their total weight).
    means : array of shape (K, d)
        Class means, NaN for a class without samples.
    variances : array of shape (K,)
        v_k, mean squared distance of the samples of a class to its mean; NaN without samples.
    covariance : array of shape (d, d) or None
        Sigma_W = (1/N) sum of (h - m)(h - m)^T with m the mean of the sample's class.
    """

    counts: Array
    means: Array
    variances: Array
    covariance: Array | None

    @classmethod
    def from_moments(cls, moments: Moments) -> ClassStatistics:
        """Divide by the counts; shares no memory with the moments."""
        xp = namespace(moments.means)
        seen = moments.counts > 0
        one = xp.ones_like(moments.counts)
        divisor = xp.where(seen, moments.counts, one * float("nan"))
        total = float(moments.counts.sum())
        covariance = None
        if moments.scatter is not None:
            covariance = moments.scatter / (total if total > 0 else float("nan"))
        return cls(
            counts=moments.counts * one,
            means=moments.means * (divisor / divisor)[:, None],
            variances=moments.spread / divisor,
            covariance=covariance,
        )

    @property
    def num_classes(self) -> int:
        """K, classes without samples included."""
        return int(self.counts.shape[0])

    @property
    def num_samples(self) -> float:
        """N, the number of samples, or their total weight."""
        return float(self.counts.sum())

    @property
    def mean(self) -> Array:
        """Sample-weighted global mean, shape (d,)."""
        seen = self.counts > 0
        return (self.counts[seen] @ self.means[seen]) / self.counts.sum()

    @property
    def within_trace(self) -> float:
        """Trace of Sigma_W."""
        seen = self.counts > 0
        return float((self.counts[seen] * self.variances[seen]).sum() / self.counts.sum())

    def present(self) -> ClassStatistics:
        """The same without the classes that have no samples."""
        seen = self.counts > 0
        return ClassStatistics(
            self.counts[seen], self.means[seen], self.variances[seen], self.covariance
        )

    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """The statistics of both sets of samples together.

        Raises
        ------
        ValueError
            If the shapes differ, or only one of the two has a covariance.
        """
        if tuple(self.means.shape) != tuple(other.means.shape):
            raise ValueError(
                f"other must have means of shape {tuple(self.means.shape)}, "
                f"got {tuple(other.means.shape)}"
            )
        moments = self._moments()
        moments.merge(other._moments())
        return ClassStatistics.from_moments(moments)

    def _moments(self) -> Moments:
        xp = namespace(self.means)
        seen = self.counts > 0
        means = xp.where(seen[:, None], self.means, xp.zeros_like(self.means))
        spread = xp.where(seen, self.variances * self.counts, xp.zeros_like(self.counts))
        scatter = None
        if self.covariance is not None:
            total = self.num_samples
            scatter = self.covariance * total if total > 0 else xp.zeros_like(self.covariance)
        return Moments(self.counts * 1.0, means, spread, scatter)


def class_statistics(
    features: Array,
    labels: Array,
    num_classes: int | None = None,
    *,
    weights: Array | None = None,
    covariance: bool = True,
) -> ClassStatistics:
    """Counts, class means and within-class variability of features with labels.

    Works through the samples in blocks, in float64 whatever the features are in.

    Parameters
    ----------
    features : array or tensor of shape (N, d)
        Last-layer features, one row a sample.
    labels : array or tensor of shape (N,)
        Integers from 0 to K - 1.
    num_classes : int, optional
        K; the largest label plus one where it is not given.
    weights : array or tensor of shape (N,), optional
        Nonnegative weight of each sample; 1 where not given.
    covariance : bool
        Whether to form the d x d matrix Sigma_W; NC1 needs it.

    Returns
    -------
    ClassStatistics

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
    >>> found = metrics.class_statistics(features, labels)
    >>> found.num_samples, abs(found.means.round(0)).tolist()[2]
    (110.0, [0.0, 0.0, 5.0, 0.0])
    """
    features = as_matrix("features", features)
    num_classes = check_limit("num_classes", num_classes)
    labels = as_labels("labels", labels, num_classes, features)
    if num_classes is None:
        if labels.shape[0] == 0:
            raise ValueError("labels must not be empty where num_classes is not given")
        num_classes = int(labels.max()) + 1
    weights = check_samples(features, labels, weights)
    first = as_float64("features", features[:0], 2)
    moments = Moments.empty(num_classes, features.shape[1], covariance, first)
    for block in blocks(features.shape[0], features.shape[1]):
        part = as_float64("features", features[block], 2)
        moments.add_batch(part, labels[block], None if weights is None else weights[block])
    return ClassStatistics.from_moments(moments)


def check_samples(features: Array, labels: Array, weights: Array | None) -> Array | None:
    """Refuse features, labels and weights of different lengths; weights as float64."""
    number = features.shape[0]
    if labels.shape[0] != number:
        raise ValueError(
            f"labels must have one entry per row of features, {number}, got {labels.shape[0]}"
        )
    if weights is None:
        return None
    weights = as_float64("weights", weights, 1, like=features)
    if weights.shape[0] != number:
        raise ValueError(
            f"weights must have one entry per row of features, {number}, got {weights.shape[0]}"
        )
    if not bool((weights >= 0).all()):
        raise ValueError(f"weights must be nonnegative, got {float(weights.min()):g}")
    return weights
