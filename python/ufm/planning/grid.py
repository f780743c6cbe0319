"""The problems of a sweep: every combination of its axes, without holding them all at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ufm.planning._axes import Axis, Vectors, make_axis, make_vectors
from ufm.planning._loss_axis import (
    LossArgument,
    LossAxis,
    alike,
    identity,
    keys,
    make_loss_axis,
)
from ufm.planning.chunk import Chunk, Options, Row
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

# Of the six axes, those on which counts, class weights and loss of a problem depend come first.
ROW_AXES = 4


@dataclass(frozen=True)
class Grid:
    """Every combination of counts, class weights, loss, ratio, lambda_b and lambda_z.

    The order of the axes is this one.

    Attributes
    ----------
    counts : Vectors
        Samples per class.
    class_weights : Vectors or None
        Loss weights per class.
    loss : LossAxis or None
        What the cross-entropy is taken of.
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
    loss: LossAxis | None
    ratio: Axis | None
    lambda_b: Axis
    lambda_z: Axis
    relative: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the six axes; 1 where an axis has a single value."""
        return (
            len(self.counts),
            1 if self.class_weights is None else len(self.class_weights),
            1 if self.loss is None else len(self.loss),
            1 if self.ratio is None else self.ratio.values.size,
            self.lambda_b.values.size,
            self.lambda_z.values.size,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the six axes."""
        return ("counts", "class_weights", "loss", "ratio", "lambda_b", self.lambda_z.name)

    @property
    def swept(self) -> tuple[bool, ...]:
        """Which of the six axes are dimensions of the result."""
        return (
            self.counts.swept,
            self.class_weights is not None and self.class_weights.swept,
            self.loss is not None and self.loss.swept,
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
        made = () if self.loss is None else (row[2] for row in self.rows() if row[2] is not None)
        return {
            "counts": self.counts.identity(),
            "class_weights": "none" if weights is None else weights.identity(),
            **({} if self.loss is None else {"loss": identity(self.loss, made)}),
            "ratio": "none" if ratio is None else ratio.identity(),
            "lambda_b": self.lambda_b.identity(),
            self.lambda_z.name: self.lambda_z.identity(),
        }

    # ------------------------------------------------------------------ rows

    @property
    def num_rows(self) -> int:
        """Number of combinations of counts, class weights, loss and ratio."""
        return math.prod(self.shape[:ROW_AXES])

    def row(self, index: int) -> Row:
        """Counts, class weights and loss of one such combination."""
        which, weighted, lost, scaled = np.unravel_index(index, self.shape[:ROW_AXES])
        counts = self.counts.vectors[which]
        if self.ratio is not None:
            counts = with_ratio(counts, float(self.ratio.values[scaled]))
        weights = None if self.class_weights is None else self.class_weights.vectors[weighted]
        return counts, weights, None if self.loss is None else self.loss.at(int(lost), counts)

    def rows(self) -> Iterator[Row]:
        """All of them."""
        return (self.row(index) for index in range(self.num_rows))

    @cached_property
    def units(self) -> FloatArray:
        """sqrt(min n) / N of every row, shape of the axes that make rows."""
        values = [math.sqrt(float(row[0].min())) / float(row[0].sum()) for row in self.rows()]
        return np.array(values).reshape(self.shape[:ROW_AXES])

    @cached_property
    def cluster_of(self) -> NDArray[np.int64] | None:
        """Cluster of each class, shape (K,): equal counts, weights and loss in every problem.

        Clusters are numbered by falling count in the first problem. None where the problems
        differ in their number of classes.
        """
        vectors = list(self.counts.vectors)
        if len({vector.size for vector in vectors}) > 1:
            return None
        if self.class_weights is not None:
            vectors += self.class_weights.vectors
        labels = alike([np.stack(vectors)])
        if self.loss is not None:
            labels = alike(
                [labels[None, :].astype(np.float64), *(keys(*row) for row in self.rows())]
            )
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        order = np.lexsort((first, -vectors[0][first]))
        return np.argsort(order)[inverse.reshape(-1)]

    # ------------------------------------------------------------------ chunks

    def chunk_size(self) -> int:
        """Problems a chunk, for about two seconds of work."""
        classes = max(vector.size for vector in self.counts.vectors)
        ratios = self.shape[ROW_AXES - 1]  # these leave the clusters alone
        some_rows = (self.row(index) for index in range(0, self.num_rows, ratios))
        distinct = max(np.unique(keys(*row), axis=1).shape[1] for row in some_rows)
        # Measured on one core of a 2023 server: 1e-5 s with two clusters, growing like C^2 until
        # the continuum reduction sets in. Other losses than weighted cross-entropy have neither.
        if self.loss is None:
            seconds = 1e-5 if distinct <= 2 else min(2e-5 * distinct**2, 0.1)
        else:
            seconds = max(2e-5 * distinct**2, 2e-4)
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
    loss: LossArgument = None,
) -> Grid:
    """Check the arguments of a sweep."""
    if (lambda_z is None) == (relative_lambda_z is None):
        given = "neither" if lambda_z is None else "both"
        raise ValueError(f"give either lambda_z or relative_lambda_z, got {given}")
    relative = lambda_z is None
    name, value = ("relative_lambda_z", relative_lambda_z) if relative else ("lambda_z", lambda_z)
    count_vectors = make_vectors("counts", counts, check_counts)
    weight_vectors = None
    if class_weights is not None:
        weight_vectors = _weights(class_weights, count_vectors)
    ratios = None if ratio is None else make_axis("ratio", ratio, _check_largest_over_smallest)
    grid = Grid(
        counts=count_vectors,
        class_weights=weight_vectors,
        loss=make_loss_axis(loss),
        ratio=ratios,
        lambda_b=make_axis("lambda_b", lambda_b, lambda _, given: check_lambda_b(given)),
        lambda_z=make_axis(name, value, check_positive),
        relative=relative,
    )
    if ratios is not None:
        _check_ratio(grid, ratios)
    if grid.loss is not None:
        _check_losses(grid, grid.loss)
    if relative:
        with np.errstate(over="ignore", under="ignore"):
            ends = (
                grid.units.min() * grid.lambda_z.values.min(),
                np.multiply(grid.units.max(), grid.lambda_z.values.max()),
            )
        for end in ends:
            check_positive("relative_lambda_z * sqrt(min n) / N", end)
    return grid


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

    return make_vectors("class_weights", value, check)


def _check_losses(grid: Grid, losses: LossAxis) -> None:
    plain = replace(grid, loss=None)
    for counts, weights, _ in plain.rows():
        for index in range(len(losses)):
            losses.check(index, counts, weights)


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
