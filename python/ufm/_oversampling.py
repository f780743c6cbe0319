"""What showing samples more than once amounts to: :func:`oversample`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ufm.problem import FloatArray, check_counts, check_positive, check_vector


@dataclass(frozen=True, eq=False)
class Oversampling:
    """An oversampled problem, ready for :func:`ufm.solve`.

    ``ufm.solve(plan.counts, lambda_z, lambda_b, class_weights=plan.class_weights)``.

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Counts of the problem to solve: factors * n where every showing of a sample is penalised,
        n where each sample is penalised once.
    class_weights : ndarray of shape (K,) or None
        Loss weights of the problem to solve; None where the counts say it all.
    factors : ndarray of shape (K,)
        How often each sample of a class is shown.
    num_samples : float
        Samples shown in an epoch, sum_k factors[k] n_k.
    added : float
        How many more that is than without oversampling; negative for undersampling.
    """

    counts: FloatArray
    class_weights: FloatArray | None
    factors: FloatArray
    num_samples: float
    added: float


def oversample(
    counts: ArrayLike, factors: ArrayLike, *, repeats_penalised: bool = True
) -> Oversampling:
    """Show every sample of class k ``factors[k]`` times.

    The loss then is the mean over N_r = sum_k r_k n_k showings, so that class k has loss weight
    r_k n_k / N_r. What becomes of the penalty (lambda_H / 2) ||H||^2 depends on what is summed:

    - over showings, as a penalty on the features of each minibatch does: a sample shown r times
      counts r times, and D becomes diag(r_k n_k). All is as if class k **had** r_k n_k samples,
      since equal features are optimal anyhow. Threshold sqrt(r n) / N_r.
    - over distinct samples: D stays diag(n_k), and oversampling is the class weight
      r_k N / N_r. Threshold r sqrt(n) / N_r, higher by a factor sqrt(r).

    lambda_z = sqrt(lambda_W lambda_H) is the same as without oversampling. Where the feature
    penalty is itself a mean over showings (lambda_H = mu / N), put N_r into lambda_z. Both
    cases derived; that repeats share one feature or not makes no difference.

    Parameters
    ----------
    counts : array_like of shape (K,)
        Distinct samples per class; positive.
    factors : array_like of shape (K,) or float
        Showings per sample, positive and not necessarily whole: a sampler that draws with
        probabilities shows samples so often on average. Below 1 for undersampling.
    repeats_penalised : bool
        Whether a sample's features are penalised at each showing.

    Returns
    -------
    Oversampling

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.

    Examples
    --------
    >>> import ufm
    >>> plan = ufm.losses.oversample([500, 500, 100, 100], [1, 1, 4, 4])
    >>> plan.counts, plan.added
    (array([500., 500., 400., 400.]), 600.0)
    """
    original = check_counts(counts)
    if np.ndim(factors) == 0:
        shown = np.full(original.size, check_positive("factors", factors))
    else:
        shown = check_vector("factors", factors, positive=True)
    if shown.shape != original.shape:
        raise ValueError(
            f"factors must have one entry per class, shape {original.shape}, "
            f"got shape {shown.shape}"
        )
    if not isinstance(repeats_penalised, (bool, np.bool_)):
        raise TypeError(f"repeats_penalised must be True or False, got {repeats_penalised!r:.80}")
    with np.errstate(over="ignore", under="ignore"):
        effective = shown * original
        total, before = float(effective.sum()), float(original.sum())
    if not (np.isfinite(total) and (effective > 0).all()):
        raise ValueError("factors take the samples shown out of the range of double precision")
    added = total - before
    if repeats_penalised:
        return Oversampling(effective, None, shown, total, added)
    return Oversampling(original, shown * (before / total), shown, total, added)
