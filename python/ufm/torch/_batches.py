"""In which order an epoch visits the images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray


class Batches:
    """Shuffled batches of rows, with oversampled classes.

    The order of an epoch follows from the seed and the epoch's number alone, so that a resumed
    run continues with the same batches.

    Parameters
    ----------
    labels : ndarray of shape (N,)
        Class of each row.
    batch_size : int
        Rows of a batch; 0 for all.
    seed : int
        Seed of the order.
    oversample : sequence of float
        Repetitions of each class's rows, K numbers of at least 1; empty for none. Class k is
        visited ``round(factor n_k)`` times an epoch.
    """

    def __init__(
        self, labels: NDArray[np.int64], batch_size: int, seed: int, oversample: Sequence[float]
    ) -> None:
        self._rows = [np.flatnonzero(labels == k) for k in range(int(labels.max()) + 1)]
        self._seed = seed
        counts = np.array([len(rows) for rows in self._rows])
        if oversample and len(oversample) != len(counts):
            raise ValueError(
                f"training.oversample must have {len(counts)} entries, one for each class, "
                f"got {len(oversample)}"
            )
        factors = np.asarray(oversample) if oversample else np.ones(len(counts))
        self.effective_counts = np.rint(factors * counts).astype(np.int64)
        self.repeats: NDArray[np.float64] = self.effective_counts / counts
        self.size = int(self.effective_counts.sum())
        self.batch_size = min(batch_size or self.size, self.size)
        self.steps = -(-self.size // self.batch_size)

    def epoch(self, number: int, device: torch.device) -> Iterator[torch.Tensor]:
        """The batches of epoch `number`, as rows (B,) on the device."""
        rng = np.random.default_rng([self._seed, number])
        rows = np.concatenate([self._repeated(rows, size, rng) for rows, size in self._visits()])
        order = torch.from_numpy(rng.permutation(rows)).to(device)
        yield from torch.split(order, self.batch_size)

    def _visits(self) -> Iterator[tuple[NDArray[np.int64], int]]:
        yield from zip(self._rows, self.effective_counts.tolist(), strict=True)

    @staticmethod
    def _repeated(
        rows: NDArray[np.int64], size: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """All rows as often as they fit in `size`, and a random choice for the rest."""
        whole, rest = divmod(size, len(rows))
        extra = rng.permutation(rows)[:rest] if rest else rows[:0]
        return np.concatenate([np.tile(rows, whole), extra])
