"""Imbalanced subsets: so many images of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ufm.problem import check_counts
from ufm.torch.data.images import Images, Split


@dataclass(frozen=True)
class Subset:
    """An imbalanced training set and the test images that remain.

    Attributes
    ----------
    train, test : Split
        The chosen images, class by class, and the test images that were not taken for training.
    counts : ndarray of shape (K,), int64
        Training images of each class.
    topped_up : ndarray of shape (K,), int64
        How many of them had to come from the test split.
    classes : tuple of str
        Names of the K classes.
    """

    train: Split
    test: Split
    counts: np.ndarray
    topped_up: np.ndarray
    classes: tuple[str, ...]


def imbalanced_subset(images: Images, counts: ArrayLike, seed: int = 0) -> Subset:
    """Choose `counts[k]` training images of class k.

    Class k keeps its first images of a shuffled training split; where these are too few, images
    of the shuffled test split fill up, and these leave the test split.

    Parameters
    ----------
    images : Images
        The whole data set. Only its first ``len(counts)`` classes are used.
    counts : array_like of shape (K,)
        Images of each class: positive integers, at most K classes of the data.
    seed : int
        Seed of the two shuffles; the same subset for the same seed, on any machine.

    Returns
    -------
    Subset

    Raises
    ------
    ValueError
        If a count is no positive integer, a class has too few images in both splits together, or
        `seed` is negative.
    """
    wanted = check_counts(counts)
    if np.any(wanted != np.floor(wanted)):
        raise ValueError(f"counts must be integers, got {wanted[wanted != np.floor(wanted)][0]}")
    if len(wanted) > images.num_classes:
        raise ValueError(
            f"counts names {len(wanted)} classes, but {images.name} has {images.num_classes}"
        )
    sizes = wanted.astype(np.int64)
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    rng = np.random.default_rng(seed)
    # One permutation a split, so that a class keeps its images when other counts change.
    order = rng.permutation(len(images.train))
    spare = rng.permutation(len(images.test))
    train_rows, taken_rows = [], []
    topped_up = np.zeros(len(sizes), dtype=np.int64)
    for k, size in enumerate(sizes):
        rows = order[images.train.labels[order] == k][:size]
        extra = spare[images.test.labels[spare] == k][: size - len(rows)]
        if len(rows) + len(extra) < size:
            raise ValueError(
                f"counts asks for {size} images of class {k} ({images.classes[k]}), but "
                f"{images.name} has {len(rows) + len(extra)} in both splits together"
            )
        train_rows.append(rows)
        taken_rows.append(extra)
        topped_up[k] = len(extra)
    left = np.ones(len(images.test), dtype=bool)
    left[np.concatenate(taken_rows)] = False
    left &= images.test.labels < len(sizes)
    parts = [
        (images.train.images[rows], images.test.images[extra])
        for rows, extra in zip(train_rows, taken_rows, strict=True)
    ]
    return Subset(
        train=Split(
            np.concatenate([part for pair in parts for part in pair]),
            np.repeat(np.arange(len(sizes), dtype=np.int64), sizes),
        ),
        test=Split(images.test.images[left], images.test.labels[left]),
        counts=sizes,
        topped_up=topped_up,
        classes=images.classes[: len(sizes)],
    )
