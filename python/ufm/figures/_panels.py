"""The problems behind figures 5 to 9 of Hong and Ling (arXiv 2309.09725).

Counts and lambdas are facts of the paper and of its authors' published code. That code has
``reg_w ||W||^2 + reg_h (N/batch) sum ||h||^2 + reg_b ||b||^2`` without factors 1/2, with
reg_w = 5 l, reg_h = l / 20, reg_b = 0.01 in these experiments. Hence
lambda_Z = 2 sqrt(reg_w reg_h) = l and lambda_b = 2 reg_b = 0.02.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ufm.problem import FloatArray, check_choice

NUMBERS = (5, 6, 7, 8, 9)
MODES = ("corrected", "as_published")
LAMBDA_B = 0.02
# SGD weight decay of the runs of figure 9. It adds half of itself to reg_w and reg_b, a change of
# the problem that mode "as_published" keeps.
WEIGHT_DECAY = 5e-4

_MINORITY_LAMBDAS = {
    5: (0.0027, 0.0030, 0.0033, 0.0039, 0.0045, 0.0051, 0.0057, 0.0063, 0.0069, 0.0075),
    6: (0.0037, 0.0041, 0.0045, 0.0053, 0.0062, 0.0070, 0.0078, 0.0086, 0.0094, 0.0102),
}
_MAJORITY_COUNTS = {
    7: (100, 200, 300, 400, 600, 800, 1000, 1100, 1200, 1400),
    8: (100, 400, 450, 500, 700, 1000, 1600, 2200, 2500, 2800),
}
_CLASSES_A = {5: 5, 6: 3, 7: 5, 8: 3, 9: 5}
_NUM_CLASSES = 10


@dataclass(frozen=True)
class Panel:
    """One problem with two sizes of classes: A the larger, B the smaller.

    Attributes
    ----------
    classes_a, classes_b : int
        Number of classes of each size, k_A and k_B.
    count_a, count_b : float
        Samples of each class, n_A >= n_B.
    lambda_z, lambda_b : float
        Weights of the nuclear norm and of the bias penalty.
    """

    classes_a: int
    classes_b: int
    count_a: float
    count_b: float
    lambda_z: float
    lambda_b: float

    @property
    def counts(self) -> FloatArray:
        """Samples per class, shape (k_A + k_B,), A first."""
        return np.repeat([self.count_a, self.count_b], [self.classes_a, self.classes_b]) * 1.0

    @property
    def num_samples(self) -> float:
        """N."""
        return self.classes_a * self.count_a + self.classes_b * self.count_b

    @property
    def threshold(self) -> float:
        """The lambda_z from which on the classes of B merge, sqrt(n_B) / N (Hong and Ling)."""
        return math.sqrt(self.count_b) / self.num_samples

    @property
    def critical_count_a(self) -> float:
        """The n_A from which on the classes of B merge at this lambda_z (Hong and Ling)."""
        total = math.sqrt(self.count_b) / self.lambda_z
        return (total - self.classes_b * self.count_b) / self.classes_a


def check_number(number: int) -> int:
    """A number of `NUMBERS`."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise TypeError(f"number must be an integer from 5 to 9, got {number!r:.80}")
    if number not in NUMBERS:
        raise ValueError(f"number must be from 5 to 9, got {number}")
    return int(number)


def panels_of(number: int, mode: str = "corrected") -> list[Panel]:
    """Problems of a figure, in the paper's order.

    Parameters
    ----------
    number : int
        5 to 9.
    mode : {"corrected", "as_published"}
        They differ in figure 9 only: "as_published" includes the weight decay of the published
        runs in lambda_z and lambda_b.

    Raises
    ------
    ValueError, TypeError
        If an argument is not allowed.
    """
    number = check_number(number)
    mode = check_choice("mode", mode, MODES)
    a = _CLASSES_A[number]
    b = _NUM_CLASSES - a
    if number in _MINORITY_LAMBDAS:
        return [Panel(a, b, 500.0, 100.0, x, LAMBDA_B) for x in _MINORITY_LAMBDAS[number]]
    if number in _MAJORITY_COUNTS:
        counts = _MAJORITY_COUNTS[number]
        return [Panel(a, b, float(n), 100.0, 0.005, LAMBDA_B) for n in counts]
    return [_limit_panel(float(n), mode) for n in range(500, 5501, 500)]


def _limit_panel(count_a: float, mode: str) -> Panel:
    """Figure 9: n_B = n_A / 2 and lambda_z = 0.1 / N, to which weight decay may add."""
    a = _CLASSES_A[9]
    b = _NUM_CLASSES - a
    lambda_z = 0.1 / (a * count_a + b * count_a / 2)
    lambda_b = LAMBDA_B
    if mode == "as_published":
        reg_w, reg_h = 5 * lambda_z + WEIGHT_DECAY / 2, lambda_z / 20
        lambda_z, lambda_b = 2 * math.sqrt(reg_w * reg_h), LAMBDA_B + WEIGHT_DECAY
    return Panel(a, b, count_a, count_a / 2, lambda_z, lambda_b)
