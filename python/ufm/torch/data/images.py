"""What every reader returns: :class:`Images`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes
    ----------
    images : ndarray of shape (N, C, H, W), uint8
        Pixels, 0 to 255; C is 1 (grey) or 3 (red, green, blue).
    labels : ndarray of shape (N,), int64
        Class of each image, 0 to K - 1.
    """

    images: Pixels
    labels: Labels

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(
                "images must be a uint8 array of shape (N, C, H, W), got "
                f"{self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1]:
            raise ValueError(
                f"labels must have shape ({len(self.images)},), one for each image, "
                f"got {self.labels.shape}"
            )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Images:
    """A training split, a test split and the names of the classes.

    Attributes
    ----------
    name : str
        What the images are; chooses the usual mean and deviation where these are known.
    train, test : Split
        The test split may be empty.
    classes : tuple of str
        Names of the K classes, in the order of the labels.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse labels without a class and splits of different sizes."""
        if self.train.images.shape[1:] != self.test.images.shape[1:]:
            raise ValueError(
                f"training images of shape {self.train.images.shape[1:]} beside test images of "
                f"shape {self.test.images.shape[1:]}"
            )
        for split in (self.train, self.test):
            if len(split) and not 0 <= split.labels.min() <= split.labels.max() < self.num_classes:
                raise ValueError(
                    f"labels must lie between 0 and {self.num_classes - 1}, got "
                    f"{split.labels.min()} to {split.labels.max()}"
                )

    @property
    def num_classes(self) -> int:
        """The number of classes, K."""
        return len(self.classes)
