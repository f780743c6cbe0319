"""The problems of a sweep: every combination of its axes, without holding them all at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufm.planning.chunk import Chunk, Options
from ufm.problem import (
    FloatArray,
    check_class_weights,
    check_counts,
    check_lambda_b,
    check_positive,
)

# Of one chunk: an interrupted sweep loses at most this much of each worker's time.
_CHUNK_SECONDS = 2.0
_MOST_PROBLEMS = 50_000


@dataclass(frozen=True)
class Axis:
    """Values of one number; ``swept`` tells whether they make a dimension."""

    name: str
    values: FloatArray
    swept: bool

    def identity(self) -> str:
        """The values in a few words, different for different values."""
        if not self.swept:
            return repr(float(self.values[0]))
        first, last = float(self.values[0]), float(self.values[-1])
        return f"{self.values.size} values from {first!r} to {last!r} ({_digest([self.values])})"


@dataclass(frozen=True)
class Vectors:
    """One or several vectors over classes, with labels where they were named."""

    name: str
    vectors: tuple[FloatArray, ...]
    labels: tuple[str, ...] | None
    swept: bool

    def identity(self) -> str:
        """The vectors in a few words, different for different vectors."""
        digest = _digest(self.vectors)
        if not self.swept:
            return f"{self.vectors[0].size} classes ({digest})"
        named = "" if self.labels is None else f" named {json.dumps(self.labels)}"
        return f"{len(self.vectors)} vectors{named} ({digest})"


def _digest(arrays: Iterable[FloatArray]) -> str:
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.size},".encode())
        hashed.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return hashed.hexdigest()[:16]


@dataclass(frozen=True)
class Grid:
    """Every combination of counts, class weights, ratio, lambda_b and lambda_z, in this order.

    Attributes
    ----------
    counts : Vectors
        Samples per class.
    class_weights : Vectors or None
        Loss weights per class.
    ratio : Axis or None
        Largest over smallest count, which the counts are brought to.
    lambda_b : Axis
        Weights of the bias penalty.
    lambda_z : Axis
        Weights of the nuclear norm, in units of sqrt(min n) / N where ``relative``.
    relative : bool
        Whether they are.
    """

    counts: Vectors
    class_weights: Vectors | None
    ratio: Axis | None
    lambda_b: Axis
    lambda_z: Axis
    relative: bool

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Lengths of the five axes; 1 where an axis has a single value."""
        return (
            len(self.counts.vectors),
            1 if self.class_weights is None else len(self.class_weights.vectors),
            1 if self.ratio is None else self.ratio.values.size,
            self.lambda_b.values.size,
            self.lambda_z.values.size,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the five axes."""
        return ("counts", "class_weights", "ratio", "lambda_b", self.lambda_z.name)

    @property
    def swept(self) -> tuple[bool, ...]:
        """Which of the five axes are dimensions of the result."""
        return (
            self.counts.swept,
            self.class_weights is not None and self.class_weights.swept,
            self.ratio is not None and self.ratio.swept,
            self.lambda_b.swept,
            self.lambda_z.swept,
        )

    @property
    def size(self) -> int:
        """Number of problems."""
        return math.prod(self.shape)

    def identity(self) -> dict[str, str]:
        """What makes this sweep's problems, by argument."""
        weights, ratio = self.class_weights, self.ratio
        return {
            "counts": self.counts.identity(),
            "class_weights": "none" if weights is None else weights.identity(),
            "ratio": "none" if ratio is None else ratio.identity(),
            "lambda_b": self.lambda_b.identity(),
            self.lambda_z.name: self.lambda_z.identity(),
        }

    # ------------------------------------------------------------------ rows

    @property
    def num_rows(self) -> int:
        """Number of combinations of counts, class weights and ratio."""
        return math.prod(self.shape[:3])

    def row(self, index: int) -> tuple[FloatArray, FloatArray | None]:
        """Counts and class weights of one such combination, each of shape (K,)."""
        which, weighted, scaled = np.unravel_index(index, self.shape[:3])
        counts = self.counts.vectors[which]
        if self.ratio is not None:
            counts = with_ratio(counts, float(self.ratio.values[scaled]))
        return counts, None if self.class_weights is None else self.class_weights.vectors[weighted]

    @cached_property
    def units(self) -> FloatArray:
        """sqrt(min n) / N of every row, shape of the first three axes."""
        rows = (self.row(index)[0] for index in range(self.num_rows))
        values = [math.sqrt(float(np.min(row))) / float(np.sum(row)) for row in rows]
        return np.array(values).reshape(self.shape[:3])

    @cached_property
    def cluster_of(self) -> NDArray[np.int64] | None:
        """Cluster of each class, shape (K,): equal counts and weights in every problem.

        Clusters are numbered by falling count in the first problem. None where the problems
        differ in their number of classes.
        """
        vectors = list(self.counts.vectors)
        if len({vector.size for vector in vectors}) > 1:
            return None
        if self.class_weights is not None:
            vectors += self.class_weights.vectors
        _, first, inverse = np.unique(
            np.stack(vectors), axis=1, return_index=True, return_inverse=True
        )
        order = np.lexsort((first, -vectors[0][first]))
        return np.argsort(order)[inverse.reshape(-1)]

    # ------------------------------------------------------------------ chunks

    def chunk_size(self) -> int:
        """Problems a chunk, for about two seconds of work."""
        classes = max(vector.size for vector in self.counts.vectors)
        distinct = max(
            np.unique(np.stack([counts, weights]), axis=1).shape[1]
            for counts in self.counts.vectors
            for weights in (
                [np.ones_like(counts)] if self.class_weights is None else self.class_weights.vectors
            )
        )
        # Measured on one core of a 2023 server: 1e-5 s with two clusters, growing like C^2 until
        # the continuum reduction sets in.
        seconds = 1e-5 if distinct <= 2 else min(2e-5 * distinct**2, 0.1)
        seconds += 3e-8 * classes
        return min(max(int(_CHUNK_SECONDS / seconds), 1), _MOST_PROBLEMS, self.size)

    def chunk(self, start: int, stop: int, options: Options) -> Chunk:
        """The problems ``start`` to ``stop`` - 1, ready to be sent to a worker."""
        index = np.arange(start, stop)
        *_, biases, lambdas = self.shape
        row = index // (biases * lambdas)
        lambda_z = self.lambda_z.values[index % lambdas]
        if self.relative:
            lambda_z = lambda_z * self.units.reshape(-1)[row]
        cluster_of = self.cluster_of if options.per_cluster else None
        first = None if cluster_of is None else np.unique(cluster_of, return_index=True)[1]
        return Chunk(
            start=start,
            rows=tuple(self.row(i) for i in range(int(row[0]), int(row[-1]) + 1)),
            row_of=row - row[0],
            lambda_z=lambda_z,
            lambda_b=self.lambda_b.values[index // lambdas % biases],
            classes=first,
            options=options,
        )


def with_ratio(counts: FloatArray, ratio: float) -> FloatArray:
    """Counts of shape (K,) brought to ``max / min = ratio`` with the smallest as it is.

    Logarithms of counts keep their proportions: two clusters become n_A = ratio * n_B, and an
    exponential tail stays one.
    """
    smallest = counts.min()
    part = np.log(counts / smallest)
    scaled: FloatArray = smallest * np.power(ratio, part / part.max())
    return scaled


# ---------------------------------------------------------------------- arguments


def make_grid(
    counts: ArrayLike | Iterable[ArrayLike] | Mapping[str, ArrayLike],
    lambda_z: ArrayLike | None,
    relative_lambda_z: ArrayLike | None,
    lambda_b: ArrayLike,
    ratio: ArrayLike | None,
    class_weights: ArrayLike | Iterable[ArrayLike] | Mapping[str, ArrayLike] | None,
) -> Grid:
    """Check the arguments of a sweep."""
    if (lambda_z is None) == (relative_lambda_z is None):
        raise ValueError("give either lambda_z or relative_lambda_z")
    relative = lambda_z is None
    name, value = ("relative_lambda_z", relative_lambda_z) if relative else ("lambda_z", lambda_z)
    count_vectors = _vectors("counts", counts, check_counts)
    weight_vectors = None
    if class_weights is not None:
        weight_vectors = _weights(class_weights, count_vectors)
    ratios = None if ratio is None else _axis("ratio", ratio, _check_largest_over_smallest)
    grid = Grid(
        counts=count_vectors,
        class_weights=weight_vectors,
        ratio=ratios,
        lambda_b=_axis("lambda_b", lambda_b, lambda _, given: check_lambda_b(given)),
        lambda_z=_axis(name, value, check_positive),
        relative=relative,
    )
    if ratios is not None:
        _check_ratio(grid, ratios)
    if relative:
        with np.errstate(over="ignore", under="ignore"):
            ends = (
                grid.units.min() * grid.lambda_z.values.min(),
                np.multiply(grid.units.max(), grid.lambda_z.values.max()),
            )
        for end in ends:
            check_positive("relative_lambda_z * sqrt(min n) / N", end)
    return grid


def _axis(name: str, value: Any, check: Callable[[str, Any], float]) -> Axis:
    if value is None or isinstance(value, (str, bytes)) or np.ndim(value) == 0:
        return Axis(name, np.array([check(name, value)]), swept=False)
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} must be a number or a non-empty list of numbers, got shape {array.shape}"
        )
    values = []
    for index, item in enumerate(array.tolist()):
        try:
            values.append(check(name, item))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{name}[{index}]: {error}") from None
    return Axis(name, np.array(values), swept=True)


def _vectors(name: str, value: Any, check: Callable[[Any], FloatArray]) -> Vectors:
    if isinstance(value, Mapping):
        labels = tuple(value)
        if not all(isinstance(label, str) for label in labels):
            raise TypeError(f"the names of {name} must be strings, got {labels!r:.80}")
        items, swept = list(value.values()), True
    else:
        labels = None
        items, swept = _items(name, value)
    if not items:
        raise ValueError(f"{name} must hold at least one vector, got an empty {type(value)}")
    vectors = []
    for index, item in enumerate(items):
        try:
            vectors.append(check(item))
        except (ValueError, TypeError) as error:
            where = index if labels is None else repr(labels[index])
            raise type(error)(f"{name}[{where}]: {error}" if swept else str(error)) from None
    return Vectors(name, tuple(vectors), labels, swept)


def _items(name: str, value: Any) -> tuple[list[Any], bool]:
    """The vectors in ``value``, and whether it is a list of them."""
    if isinstance(value, (list, tuple)) and any(np.ndim(item) for item in value):
        return list(value), True
    array = np.asarray(value)
    if array.ndim == 2:
        return list(array), True
    if array.ndim == 1 and array.dtype.kind == "O" and any(np.ndim(item) for item in array):
        return list(array), True
    if array.ndim != 1:
        raise ValueError(
            f"{name} must be one vector over classes or several, got shape {array.shape}"
        )
    return [value], False


def _weights(value: Any, counts: Vectors) -> Vectors:
    sizes = {vector.size for vector in counts.vectors}
    if len(sizes) > 1:
        raise ValueError(
            "class_weights need counts with one number of classes, got vectors of "
            f"{', '.join(str(size) for size in sorted(sizes))} classes"
        )

    def check(item: Any) -> FloatArray:
        weights = None
        for vector in counts.vectors:
            weights = check_class_weights(item, vector)
        return np.ones_like(counts.vectors[0]) if weights is None else weights

    return _vectors("class_weights", value, check)


def _check_largest_over_smallest(name: str, value: Any) -> float:
    number = check_positive(name, value)
    if number < 1:
        raise ValueError(
            f"{name} is the largest count over the smallest and must be at least 1, got {number:g}"
        )
    return number


def _check_ratio(grid: Grid, ratios: Axis) -> None:
    for index, vector in enumerate(grid.counts.vectors):
        where = f"counts[{index}]" if grid.counts.swept else "counts"
        if vector.min() == vector.max():
            raise ValueError(
                f"ratio needs classes of different sizes, but all of {where} are {vector[0]:g}"
            )
        for ratio in (ratios.values.min(), ratios.values.max()):
            with np.errstate(over="ignore"):
                scaled = with_ratio(vector, float(ratio))
            try:
                check_counts(scaled)
                for weights in () if grid.class_weights is None else grid.class_weights.vectors:
                    check_class_weights(weights, scaled)
            except ValueError as error:
                raise ValueError(f"ratio {ratio:g} is out of range: {error}") from None
