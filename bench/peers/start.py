"""What all factored peers share: where they start and how often they may start again."""

from __future__ import annotations

import math

import numpy as np

from bench.cases import Array, Case

RESTARTS = 4  # times that an L-BFGS whose line search fails may start afresh where it stands


def balanced_factor(case: Case) -> Array:
    """F (K, K) with F F^T the solution Z for equal counts, a multiple of I - J/K.

    Zero is a stationary point of the factored problem, so a peer must start somewhere else; this
    start has the right size. Where the balanced solution is zero the multiple is 1.
    """
    size = case.counts.size
    mean = float(case.counts.mean())
    odds = 1.0 / (case.lambda_z * math.sqrt(mean)) - size + 1.0
    multiple = math.log(odds) if odds > math.e else 1.0
    centred = np.eye(size) - 1.0 / size
    return math.sqrt(multiple) * centred
