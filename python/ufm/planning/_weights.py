"""Class weights in the loss that keep the protected classes apart, in closed form (derived).

With loss weight u per sample, divided by the number N of samples, a class of n samples merges where
lambda_z >= u sqrt(n) / N. Two conventions are in use:

plain
    The weights are taken as they are: u = w. Any threshold can be reached.
normalised
    The loss is divided by the summed weights of its samples, as the weighted mean of
    ``torch.nn.CrossEntropyLoss(weight=w)`` is: u = w N / S with S = sum of w n over all classes.
    Only the ratios of weights matter, and what one class gains the others lose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray


def plain_weights(counts: FloatArray, protected: NDArray[np.bool_], target: float) -> FloatArray:
    """Smallest weights w >= 1 with w sqrt(n) / N >= `target` for the protected classes.

    Parameters
    ----------
    counts : ndarray of shape (K,)
    protected : ndarray of shape (K,), bool
    target : float
        lambda_z that they must bear.

    Returns
    -------
    ndarray of shape (K,)
    """
    needed = np.maximum(target * counts.sum() / np.sqrt(counts), 1.0)
    return np.where(protected, needed, 1.0)


def normalised_weights(
    counts: FloatArray, protected: NDArray[np.bool_], target: float
) -> FloatArray | None:
    """Smallest weights w >= 1 with w sqrt(n) / S >= `target`, S = sum of w n; None if none are.

    S solves S = sum of max(n, target S sqrt(n)) over the protected classes plus the samples of the
    others. The right side is convex and piecewise linear in S: at most one root, found exactly.
    Parameters and result as in :func:`plain_weights`.
    """
    total = float(counts.sum())
    values, sizes = np.unique(counts[protected], return_counts=True)
    # Entry i: the i smallest counts are raised.
    raised = np.concatenate([[0.0], np.cumsum(values * sizes)])
    roots = np.concatenate([[0.0], np.cumsum(np.sqrt(values) * sizes)])
    slack = 1 - target * roots
    possible = slack > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.where(possible, np.maximum(total - raised, 0.0) / slack, np.inf)
    ends = np.append(values, np.inf)
    # No root at zero: with every class raised and nothing beside, S could be anything.
    fits = possible & (sums > 0) & ((target * sums) ** 2 <= ends)
    if not fits.any():
        return None
    chosen = float(sums[int(np.argmax(fits))])
    needed = np.maximum(target * chosen / np.sqrt(counts), 1.0)
    return np.where(protected, needed, 1.0)


def largest_normalised(counts: FloatArray, protected: NDArray[np.bool_]) -> float:
    """Lambda_z that normalised weights approach or reach: 1 / sum of sqrt(n) of the protected."""
    return 1 / float(np.sqrt(counts[protected]).sum())


def effective_weights(weights: FloatArray, counts: FloatArray) -> FloatArray:
    """The plain weights that normalised weights amount to: w N / S, shape (K,)."""
    return weights * (float(counts.sum()) / float((weights * counts).sum()))
