"""The losses of a sweep: one, or several by name, given as they are or as functions of counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ufm._loss import PLAIN, Loss, check_loss
from ufm.problem import FloatArray

LossMaker = Loss | Callable[[FloatArray], Loss]
LossArgument = LossMaker | Mapping[str, LossMaker | None] | None


@dataclass(frozen=True)
class LossAxis:
    """Losses by name, each a :class:`ufm.Loss` or a function from counts (K,) to one.

    Attributes
    ----------
    makers : tuple
        The losses.
    labels : tuple of str or None
        Their names, where they make a dimension of the result.
    """

    makers: tuple[LossMaker, ...]
    labels: tuple[str, ...] | None

    name = "loss"

    @property
    def swept(self) -> bool:
        """Whether the losses make a dimension."""
        return self.labels is not None

    def __len__(self) -> int:
        return len(self.makers)

    def at(self, index: int, counts: FloatArray) -> Loss:
        """One of the losses, for counts of shape (K,)."""
        maker = self.makers[index]
        return maker if isinstance(maker, Loss) else maker(counts)

    def check(self, index: int, counts: FloatArray, class_weights: FloatArray | None) -> None:
        """Refuse a loss that does not fit the counts, or a function that makes none."""
        maker = self.makers[index]
        where = "loss" if self.labels is None else f"loss[{self.labels[index]!r}]"
        try:
            made = self.at(index, counts.copy())
            if not isinstance(made, Loss):
                raise TypeError(f"the function {maker!r:.80} made {made!r:.80}, which is no Loss")
            check_loss(made, class_weights, counts)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{where}: {error}") from None


def make_loss_axis(loss: Any) -> LossAxis | None:
    """The losses of a sweep from what the user gave."""
    if loss is None:
        return None
    if isinstance(loss, Mapping):
        if not loss:
            raise ValueError("loss must name at least one loss, got an empty dict")
        labels = tuple(loss)
        if not all(isinstance(label, str) for label in labels):
            raise TypeError(f"the names of loss must be strings, got {labels!r:.80}")
        makers = [PLAIN if value is None else value for value in loss.values()]
    else:
        labels, makers = None, [loss]
    for index, maker in enumerate(makers):
        if not isinstance(maker, Loss) and not callable(maker):
            where = "loss" if labels is None else f"loss[{labels[index]!r}]"
            raise TypeError(
                f"{where} must be a ufm.Loss, a function that makes one from counts, "
                f"{'a dict of these' if labels is None else 'None'}, got {maker!r:.80}"
            )
    return LossAxis(tuple(makers), labels)


def keys(counts: FloatArray, weights: FloatArray | None, loss: Loss | None) -> FloatArray:
    """What classes must have in common to be alike; each row of the result one property."""
    rows = [counts]
    if weights is not None:
        rows.append(weights)
    if loss is not None:
        vectors = (loss.class_weights, *loss.core_arguments().values())
        rows += [v for v in vectors if isinstance(v, np.ndarray) and v.size]
    return np.stack(rows)


def alike(all_keys: Iterable[FloatArray]) -> NDArray[np.int64]:
    """Label (K,) of each class: equal where classes are alike in every problem."""
    labels: NDArray[np.int64] | None = None
    for found in all_keys:
        stacked = found if labels is None else np.vstack([labels, found])
        labels = np.unique(stacked, axis=1, return_inverse=True)[1].reshape(-1)
    assert labels is not None
    return labels


def identity(axis: LossAxis, losses: Iterable[Loss]) -> str:
    """The losses of all problems in a few words, different for different losses."""
    hashed = hashlib.sha256()
    for loss in losses:
        hashed.update(json.dumps(loss.to_dict()).encode())
    digest = hashed.hexdigest()[:16]
    named = "" if axis.labels is None else f" named {json.dumps(axis.labels)}"
    return f"{len(axis)} loss{'' if len(axis) == 1 else 'es'}{named} ({digest})"
