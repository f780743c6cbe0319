"""The losses of many problems as flat arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._loss import GIVEN_TWICE, PLAIN, Loss, check_fit
from ufm._rows import (
    IntArray,
    Problems,
    Rows,
    blame,
    check_problems,
    check_weights,
)
from ufm.problem import FloatArray

_NO_VALUES: FloatArray = np.empty(0)
_NO_INDICES: IntArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Losses:
    """The loss of each of M problems.

    Attributes
    ----------
    kinds : tuple of Loss
        Those that occur.
    which : ndarray of shape (M,)
        Which of them each problem has.
    """

    kinds: tuple[Loss, ...]
    which: IntArray

    def __getitem__(self, index: int) -> Loss:
        return self.kinds[int(self.which[index])]

    def take(self, which: Any) -> Losses:
        """The losses of some of the problems."""
        return Losses(self.kinds, self.which[which])

    @property
    def have_shape(self) -> bool:
        """Whether scales or offsets set classes of one count apart."""
        return any(kind.has_scales or kind.has_offsets for kind in self.kinds)

    @property
    def _have_weights(self) -> bool:
        return any(kind.class_weights is not None for kind in self.kinds)

    def lack_weights(self, index: int) -> bool:
        """Whether other losses have class weights, but that of this problem has none."""
        return self._have_weights and self[index].class_weights is None

    def core_arguments(self, length: IntArray) -> dict[str, Any]:
        """Scales, offsets and smoothing as the core takes them; empty where they change nothing."""
        scale, scale_start = self._flat(length, "scale", 1.0)
        offset, offset_start = self._flat(length, "offset", 0.0)
        smoothing = np.array([kind.smoothing for kind in self.kinds])
        return {
            "scale": scale,
            "scale_start": scale_start,
            "offset": offset,
            "offset_start": offset_start,
            "smoothing": smoothing[self.which] if smoothing.any() else _NO_VALUES,
        }

    def class_weights(self, length: IntArray) -> Rows | None:
        """Class weights of problems with that many classes; None where no loss has any."""
        if not self._have_weights:
            return None
        return self._rows(length, lambda kind: kind.class_weights, 1.0)

    def _flat(self, length: IntArray, name: str, default: float) -> tuple[FloatArray, IntArray]:
        vectors = [kind.core_arguments()[name] for kind in self.kinds]
        if not any(vector.size for vector in vectors):
            return _NO_VALUES, _NO_INDICES
        rows = self._rows(length, lambda kind: kind.core_arguments()[name], default)
        return rows.values, rows.start

    def _rows(
        self, length: IntArray, vector_of: Callable[[Loss], FloatArray | None], default: float
    ) -> Rows:
        """A vector of each loss, held once for each loss and number of classes."""
        pairs, inverse = np.unique(np.stack([self.which, length]), axis=1, return_inverse=True)
        vectors: list[FloatArray] = []
        for kind, size in pairs.T.tolist():
            vector = vector_of(self.kinds[kind])
            if vector is None or not vector.size:
                vector = np.full(size, default)
            vectors.append(vector)
        sizes = np.array([vector.size for vector in vectors], dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        return Rows(np.concatenate(vectors), starts[inverse.reshape(-1)], length)


PLAIN_ARGUMENTS: dict[str, Any] = {
    "scale": _NO_VALUES,
    "scale_start": _NO_INDICES,
    "offset": _NO_VALUES,
    "offset_start": _NO_INDICES,
    "smoothing": _NO_VALUES,
}


def check_all(
    counts: ArrayLike | Iterable[ArrayLike],
    lambda_z: ArrayLike,
    lambda_b: ArrayLike,
    class_weights: ArrayLike | Iterable[ArrayLike] | None,
    loss: Loss | Iterable[Loss | None] | None,
) -> tuple[Problems, Losses | None]:
    """Check and broadcast the arguments of many problems; class weights may come from losses."""
    losses = _parse(loss)
    number = None if losses is None or isinstance(loss, Loss) else losses.which.size
    problems = check_problems(counts, lambda_z, lambda_b, class_weights, number)
    if losses is None:
        return problems, None
    if number is None:
        losses = Losses(losses.kinds, np.zeros(len(problems.counts), dtype=np.int64))
    elif losses.which.size != len(problems.counts):
        losses = Losses(losses.kinds, np.resize(losses.which, len(problems.counts)))
    if not len(problems.counts):
        return problems, None
    _check_fits(losses, problems.counts, shared=number is None)
    weights = losses.class_weights(problems.counts.length)
    if weights is None:
        return problems, losses
    if class_weights is not None:
        raise ValueError(GIVEN_TWICE)
    check_weights(weights, problems.counts)
    return Problems(problems.counts, weights, problems.lambda_z, problems.lambda_b), losses


def _parse(loss: Any) -> Losses | None:
    if loss is None:
        return None
    if isinstance(loss, Loss):
        return Losses((loss,), np.zeros(1, dtype=np.int64))
    if isinstance(loss, (str, bytes)) or not isinstance(loss, Iterable):
        raise TypeError(
            f"loss must be a ufm.Loss, None or a sequence of M of them, got {loss!r:.80}"
        )
    kinds: dict[int, int] = {}
    found: list[Loss] = []
    which: list[int] = []
    for index, item in enumerate(loss):
        kind = PLAIN if item is None else item
        if not isinstance(kind, Loss):
            raise TypeError(f"problem {index}: loss must be a ufm.Loss or None, got {item!r:.80}")
        if id(kind) not in kinds:
            kinds[id(kind)] = len(found)
            found.append(kind)
        which.append(kinds[id(kind)])
    return Losses(tuple(found), np.array(which, dtype=np.int64))


def _check_fits(losses: Losses, counts: Rows, *, shared: bool) -> None:
    pairs, first = np.unique(np.stack([losses.which, counts.length]), axis=1, return_index=True)
    for (kind, size), index in sorted(
        zip(pairs.T.tolist(), first.tolist(), strict=True), key=lambda pair: pair[1]
    ):
        try:
            check_fit(losses.kinds[kind], size)
        except ValueError as error:
            blame(index, error, counts if shared else None)
