"""From the penalties of a training run to those of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ufm.problem import check_choice, check_positive

FEATURE_PENALTIES = ("sum", "mean")


@dataclass(frozen=True)
class Penalties:
    """What is penalised, as given and as the model sees it.

    Attributes
    ----------
    lambda_z : float
        sqrt(lambda_W lambda_H) for the N samples given.
    weight_decay, feature_decay : float or None
        As given; None where lambda_z was.
    lambda_h : float or None
        Weight of (1/2) sum ||h||^2: feature_decay, or feature_decay / N for a penalty on the mean.
    feature_penalty : str
        "sum" or "mean".
    num_samples : float
        N.
    """

    lambda_z: float
    weight_decay: float | None
    feature_decay: float | None
    lambda_h: float | None
    feature_penalty: str
    num_samples: float

    def at(self, num_samples: float) -> float:
        """lambda_z after the number of samples has changed."""
        if self.feature_penalty == "sum":
            return self.lambda_z
        return self.lambda_z * math.sqrt(self.num_samples / num_samples)

    def weight_decay_for(self, lambda_z: float) -> float | None:
        """The weight decay that gives `lambda_z` with the feature decay as it is."""
        return None if self.lambda_h is None else lambda_z * lambda_z / self.lambda_h


def check_penalties(
    lambda_z: Any, weight_decay: Any, feature_decay: Any, feature_penalty: Any, num_samples: float
) -> Penalties:
    """The penalties from either lambda_z or both decays."""
    choice = check_choice("feature_penalty", feature_penalty, FEATURE_PENALTIES)
    if lambda_z is not None:
        for name, value in (("weight_decay", weight_decay), ("feature_decay", feature_decay)):
            if value is not None:
                raise ValueError(
                    f"lambda_z and {name} exclude each other: give lambda_z, or both decays"
                )
        number = check_positive("lambda_z", lambda_z)
        return Penalties(number, None, None, None, choice, num_samples)
    if weight_decay is None or feature_decay is None:
        missing = [
            name
            for name, value in (("weight_decay", weight_decay), ("feature_decay", feature_decay))
            if value is None
        ]
        raise ValueError(
            f"lambda_z, or weight_decay and feature_decay, must be given; {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
        )
    lambda_w = check_positive("weight_decay", weight_decay)
    decay = check_positive("feature_decay", feature_decay)
    lambda_h = decay if choice == "sum" else decay / num_samples
    # The product may underflow where its root does not.
    product = check_positive("lambda_z from the decays", math.sqrt(lambda_w) * math.sqrt(lambda_h))
    return Penalties(product, lambda_w, decay, lambda_h, choice, num_samples)
