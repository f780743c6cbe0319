"""A run's penalties, and the prediction that it is compared with while it goes on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import ufm
from ufm.torch.config import RunConfig
from ufm.torch.losses import FeaturePenalty

_TOL = 1e-8
_ZERO = 1e-6


@dataclass(frozen=True)
class Theory:
    """Z (K, K) and b (K,) of the optimum, if known, and where they come from."""

    Z: NDArray[np.float64] | None
    b: NDArray[np.float64] | None
    objective: float
    note: str

    @classmethod
    def none(cls, reason: str) -> Theory:
        """No prediction, and why."""
        return cls(None, None, np.nan, f"none: {reason}")

    def errors(self, Z: NDArray[np.float64], b: NDArray[np.float64]) -> dict[str, float]:
        """Relative errors in the Frobenius norm; b with and without its mean. nan if unknown."""
        if self.Z is None or self.b is None:
            return {"error_Z": np.nan, "error_b": np.nan, "error_b_raw": np.nan}
        return {
            "error_Z": _relative(Z, self.Z),
            "error_b": _relative(b - b.mean(), self.b - self.b.mean()),
            "error_b_raw": _relative(b, self.b),
        }


def penalty_of(config: RunConfig, num_samples: float) -> FeaturePenalty:
    """The penalties that a run's loss states, without weight decay."""
    given = config.penalty
    if given.reg_w or given.reg_h:
        return FeaturePenalty.from_published(given.reg_w, given.reg_h, given.reg_b, num_samples)
    lambda_z = given.lambda_z or given.n_lambda_z / num_samples
    if given.w_ratio:
        lambda_w, lambda_h = lambda_z * given.w_ratio, lambda_z / given.w_ratio
        return FeaturePenalty(lambda_w, lambda_h, given.lambda_b, num_samples)
    return FeaturePenalty.from_lambda_z(lambda_z, given.lambda_b, num_samples, split=given.split)


def theory_of(config: RunConfig, counts: NDArray[np.int64], penalty: FeaturePenalty) -> Theory:
    """The optimum for the run's kind of features: free for linear, nonnegative after a ReLU."""
    if not (penalty.lambda_z > 0 and penalty.lambda_b > 0):
        return Theory.none("a penalty is zero")
    weights = config.training.class_weights or None
    if config.model.features == "linear":
        free = ufm.solve(
            counts, penalty.lambda_z, penalty.lambda_b, tol=_TOL, class_weights=weights
        )
        return Theory(free.Z, free.b, free.objective, f"free features, {free.status.name}")
    found = ufm.nonnegative_solution(
        counts, penalty.lambda_z, penalty.lambda_b, tol=_TOL, class_weights=weights
    )
    return Theory(found.Z, found.b, found.objective, f"nonnegative features, {found.status.name}")


def _relative(value: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """Norm of the difference over the target's; nan where that is zero but for rounding."""
    size = float(np.linalg.norm(target))
    return float(np.linalg.norm(value - target)) / size if size > _ZERO else float("nan")
