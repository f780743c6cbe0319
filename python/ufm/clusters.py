"""What a solution says of its clusters: :class:`Cluster` and :class:`Blocks`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ufm.problem import FloatArray

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cluster:
    """Classes with equal counts and weights, and what they share in the solution.

    Attributes
    ----------
    count, class_weight : float
        Samples and loss weight of each class of the cluster.
    multiplicity : int
        Number of classes.
    indices : ndarray of shape (multiplicity,)
        The classes, as positions in ``counts``.
    threshold : float
        lambda_z at and above which the classes share one mean prediction (Hong and Ling); NaN for
        a single class.
    collapsed : bool
        Whether they do here.
    own_logit, other_logit : float
        Bias-free logit z_kk of a class for itself and z_jk for another class of the cluster (NaN
        for a single class).
    bias : float
        b_k.
    amplitude : float
        Singular value of Z D^(1/2) on differences of classes of the cluster.
    """

    count: float
    class_weight: float
    multiplicity: int
    indices: IntArray
    threshold: float
    collapsed: bool
    own_logit: float
    other_logit: float
    bias: float
    amplitude: float


@dataclass(frozen=True)
class Blocks:
    """The mean prediction matrix by clusters: K x K entries told by C x C numbers.

    Attributes
    ----------
    cluster_of : ndarray of shape (K,)
        Cluster of each class.
    own : ndarray of shape (C,)
        z_kk of the classes of each cluster.
    between : ndarray of shape (C, C)
        Entry (i, j): z_lk for classes l of cluster i and k of cluster j, l != k.
    """

    cluster_of: IntArray
    own: FloatArray
    between: FloatArray
