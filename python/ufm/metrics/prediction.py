"""Distance of a network to the geometry that the unconstrained feature model predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ufm._factors import factor_balance
from ufm.metrics._arrays import Array, as_float64, check_classes, namespace, norm
from ufm.metrics._matrices import (
    ClassMatrix,
    FactoredMatrix,
    as_class_matrix,
    spectral_grams,
    tile_pairs,
)
from ufm.problem import check_counts, check_positive


def mean_prediction(W: Array, M: Array, mu: Array | None = None) -> Array:
    """Mean prediction matrix Z = W M^T, column k the bias-free mean logits of class k.

    Parameters
    ----------
    W, M : array or tensor of shape (K, d)
        Classifier and class means.
    mu : array or tensor of shape (d,), optional
        Taken from the class means first, Z = W (M - mu)^T. The model's Z is that of means that are
        not centred: leave it out for a comparison with a solution.

    Returns
    -------
    array or tensor of shape (K, K)

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    M = as_float64("M", M, 2)
    W = as_float64("W", W, 2, like=M)
    if mu is not None:
        mu = as_float64("mu", mu, 1, like=M)
        if mu.shape[0] != M.shape[1]:
            raise ValueError(f"mu must have shape ({M.shape[1]},), got {tuple(mu.shape)}")
        M = M - mu
    return as_class_matrix("Z", (W, M)).dense()


@dataclass(frozen=True)
class PredictionErrors:
    """Errors of a mean prediction matrix and bias against predicted ones.

    Relative errors are infinite where the prediction is zero and the error is not.

    Attributes
    ----------
    Z_relative : float
        ||Z - Z*||_F / ||Z*||_F.
    Z_relative_max : float
        max |Z - Z*| / max |Z*|.
    Z_rms, Z_max : float
        Root mean square and largest error of an entry, in logits; these stay meaningful near
        lambda_max, where Z* vanishes.
    b_relative, b_relative_max, b_max : float
        The same of b with the 2-norm, NaN where no bias was given.
    b_centred_relative, b_centred_relative_max, b_centred_max : float
        The same after the mean of b was taken from b, and that of b* from b*. The mean of b
        changes no decision and is held only by the penalty.
    b_mean : float
        The mean of b that centring removes; 1^T b* = 0 in theory.
    """

    Z_relative: float
    Z_relative_max: float
    Z_rms: float
    Z_max: float
    b_relative: float
    b_relative_max: float
    b_max: float
    b_centred_relative: float
    b_centred_relative_max: float
    b_centred_max: float
    b_mean: float


def prediction_errors(
    Z: Any, b: Array | None, prediction: Any, b_star: Array | None = None
) -> PredictionErrors:
    """Relative and absolute errors of Z and b against the model's solution.

    Works in tiles: with Z as a pair and a solution as prediction no K x K matrix is formed.

    Parameters
    ----------
    Z : array or tensor of shape (K, K), or pair (W, M)
        Mean prediction matrix, or its factors of shape (K, d): Z = W M^T.
    b : array or tensor of shape (K,) or None
        Bias of the network, None where it has none.
    prediction : Solution, or array of shape (K, K)
        Z*, or a solution that has it.
    b_star : array of shape (K,), optional
        Predicted bias; taken from the solution where not given.

    Returns
    -------
    PredictionErrors

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> from ufm import metrics
    >>> counts = [500] * 5 + [100] * 5
    >>> solution = ufm.solve(counts, lambda_z=0.0027, lambda_b=0.02)
    >>> errors = metrics.prediction_errors(1.01 * solution.Z, solution.b + 0.3, solution)
    >>> round(errors.Z_relative, 4), round(errors.b_max, 4), round(errors.b_centred_max, 4)
    (0.01, 0.3, 0.0)
    """
    measured, predicted = _both(Z, prediction)
    square, largest, square_star, largest_star = 0.0, 0.0, 0.0, 0.0
    for tile, tile_star in tile_pairs(measured, predicted):
        error = tile - tile_star
        square += float((error * error).sum())
        square_star += float((tile_star * tile_star).sum())
        largest = max(largest, _largest(error))
        largest_star = max(largest_star, _largest(tile_star))
    num_classes = measured.num_classes
    if b_star is None:
        b_star = getattr(prediction, "b", None)
    if b is None:
        bias: tuple[float, ...] = (math.nan,) * 7
    elif b_star is None:
        raise ValueError("b_star must be given where b is and the prediction has no bias")
    else:
        bias = _bias_errors(b, b_star, num_classes)
    return PredictionErrors(
        _ratio(math.sqrt(square), math.sqrt(square_star)),
        _ratio(largest, largest_star),
        math.sqrt(square) / num_classes,
        largest,
        *bias,
    )


def _bias_errors(b: Any, b_star: Any, num_classes: int) -> tuple[float, ...]:
    b = as_float64("b", b, 1)
    b_star = as_float64("b_star", b_star, 1, like=b)
    check_classes("b", b, num_classes)
    check_classes("b_star", b_star, num_classes)
    mean = float(b.mean())
    errors: list[float] = []
    for one, star in ((b, b_star), (b - mean, b_star - b_star.mean())):
        largest = _largest(one - star)
        errors += [_ratio(norm(one - star), norm(star)), _ratio(largest, _largest(star)), largest]
    return (*errors, mean)


def _both(Z: Any, prediction: Any) -> tuple[ClassMatrix, ClassMatrix]:
    measured = as_class_matrix("Z", Z)
    predicted = as_class_matrix("prediction", prediction)
    if measured.num_classes != predicted.num_classes:
        raise ValueError(
            f"prediction must have {measured.num_classes} classes like Z, "
            f"got {predicted.num_classes}"
        )
    return measured, predicted


def _largest(array: Array) -> float:
    return float(namespace(array).abs(array).max())


def _ratio(error: float, scale: float) -> float:
    if scale > 0:
        return error / scale
    return math.inf if error > 0 else 0.0


@dataclass(frozen=True, eq=False)
class PredictedGrams:
    """Gram matrices of the optimal factors; both have ``tile(rows, columns)`` and ``dense()``.

    Attributes
    ----------
    W : K x K
        W W^T = sqrt(lambda_H / lambda_W) U S U^T with Z D^(1/2) = U S V^T.
    M : K x K
        M M^T = sqrt(lambda_W / lambda_H) D^(-1/2) V S V^T D^(-1/2).
    """

    W: ClassMatrix
    M: ClassMatrix


def predicted_grams(
    prediction: Any, counts: ArrayLike, lambda_w: float, lambda_h: float
) -> PredictedGrams:
    """Gram matrices W W^T and M M^T that go with a mean prediction matrix.

    Of the problem with features of either sign: with nonnegative features the factors are others.
    A solution is treated by clusters, at the cost of its C x C blocks (derived; Hong and Ling,
    arXiv 2309.09725, give the singular value decomposition).

    Parameters
    ----------
    prediction : Solution, or array of shape (K, K)
        Z*.
    counts : array_like of shape (K,)
        Samples per class.
    lambda_w, lambda_h : float
        Weights of (1/2) ||W||_F^2 and of (1/2) the sum over samples of ||h||^2.

    Returns
    -------
    PredictedGrams

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    lambda_w = check_positive("lambda_w", lambda_w)
    lambda_h = check_positive("lambda_h", lambda_h)
    counts = check_counts(counts)
    matrix = as_class_matrix("prediction", prediction)
    check_classes("counts", counts, matrix.num_classes)
    of_w, of_m = spectral_grams(matrix, counts)
    ratio = factor_balance(lambda_w, lambda_h)
    return PredictedGrams(_scaled(of_w, ratio), _scaled(of_m, 1.0 / ratio))


def _scaled(matrix: ClassMatrix, factor: float) -> ClassMatrix:
    # Frozen dataclasses of arrays: scale every array that holds entries.
    names = [field.name for field in fields(matrix) if field.name != "cluster_of"]
    return replace(matrix, **{name: getattr(matrix, name) * factor for name in names})


@dataclass(frozen=True)
class GramErrors:
    """Relative errors of the measured Gram matrices against the predicted ones.

    Attributes
    ----------
    W, M : float
        || W W^T - predicted ||_F / || predicted ||_F, and of M M^T.
    W_max, M_max : float
        The same with the largest entry instead of the norm.
    """

    W: float
    M: float
    W_max: float
    M_max: float


def gram_errors(W: Array, M: Array, grams: PredictedGrams) -> GramErrors:
    """How far W W^T and M M^T are from the predicted ones; class means not centred.

    Parameters
    ----------
    W, M : array or tensor of shape (K, d)
        Classifier and class means.
    grams : PredictedGrams
        From :func:`predicted_grams`.

    Returns
    -------
    GramErrors

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> from ufm import metrics
    >>> counts = [500] * 5 + [100] * 5
    >>> solution = ufm.solve(counts, lambda_z=0.0027, lambda_b=0.02)
    >>> W, H = solution.factors()
    >>> predicted = metrics.predicted_grams(solution, counts, 0.0027, 0.0027)
    >>> metrics.gram_errors(W, H.T, predicted).W < 1e-6
    True
    """
    errors = {}
    for name, rows, predicted in (("W", W, grams.W), ("M", M, grams.M)):
        rows = as_float64(name, rows, 2)
        check_classes(name, rows, predicted.num_classes)
        result = prediction_errors(FactoredMatrix(rows, rows), None, predicted)
        errors[name], errors[f"{name}_max"] = result.Z_relative, result.Z_relative_max
    return GramErrors(**errors)


def clusters_of(counts: ArrayLike) -> Any:
    """Cluster of each class: classes with equal counts together, the largest count first.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Samples per class.

    Returns
    -------
    ndarray of shape (K,)
        Integers from 0 to C - 1.
    """
    return np.unique(-check_counts(counts), return_inverse=True)[1].reshape(-1)
