"""The changes that give every class a positive logit margin, in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from ufm.planning._options import Option
from ufm.planning._wording import classes, number, span

if TYPE_CHECKING:
    from ufm.planning.advice import Advice
    from ufm.planning.positive_margin import MarginChange, PositiveMargin

_THEORY = {
    "free": "features free to be negative",
    "nonnegative": "features after a ReLU",
}


def heading(advice: Advice) -> str:
    """What the options are for, and which theory they are of."""
    found = _found(advice)
    asked = f"above {found.least:.3g}" if found.least else "positive"
    return (
        f"So that every class also wins its own samples (logit margin with bias {asked}; "
        f"{_THEORY[found.features]}), either:"
    )


def verdict(advice: Advice) -> str:
    """Which classes win their own samples as things are."""
    found = _found(advice)
    lost = found.margins <= 0
    if not lost.any():
        words = "The training samples of every class are taken for it"
    elif lost.all():
        words = "The training samples of no class are taken for it alone"
    else:
        words = (
            f"The training samples of {number(lost.sum())} of {classes(lost.size)} are not taken "
            "for their own class, or for others as much"
        )
    least = float(found.margins.min())
    return f"{words}: the smallest logit margin is {least:.3g} ({_THEORY[found.features]})."


def margin_options(advice: Advice) -> list[Option]:
    """The changes, each on its own sufficient."""
    found = _found(advice)
    return [
        _smaller_lambda(advice, found),
        _oversample(advice, found.oversampling),
        _weigh("Class weights, plain", found.plain_weights, "the number of samples"),
        _weigh(
            "Class weights, normalised",
            found.normalised_weights,
            "the summed weights, as by torch.nn.CrossEntropyLoss(weight=...)",
        ),
    ]


def _smaller_lambda(advice: Advice, found: PositiveMargin) -> Option:
    name, change = "Regularise less", found.lambda_z
    if change.value is None:
        return _nothing(name, change)
    action = f"lambda_z up to {_digits(change.value, math.floor):.4g}"
    if found.weight_decay is not None:
        action += f", such as weight_decay {found.weight_decay:.4g} with the feature_decay given"
    cost = f"{change.value / advice.lambda_z:.3g} times the present one"
    return _option(name, change, action, cost)


def _oversample(advice: Advice, change: MarginChange) -> Option:
    name = "Oversample"
    if change.value is None or change.factors is None:
        return _nothing(name, change)
    raised = change.factors > 1
    action = (
        f"repeat samples of every class below {number(change.value)} up to that number: "
        f"{classes(int(raised.sum()))}, factors {span(change.factors[raised].tolist())}"
    )
    added = float(((change.factors - 1) * advice.counts).sum())
    cost = f"{number(round(added, 6))} samples more (+{added / advice.num_samples:.2%})"
    return _option(name, change, action, cost)


def _weigh(name: str, change: MarginChange, divisor: str) -> Option:
    if change.value is None or change.factors is None:
        return _nothing(name, change)
    weights = [_digits(weight, math.ceil) for weight in change.factors.tolist() if weight > 1]
    action = (
        f"weigh the loss of {classes(len(weights))} by "
        f"{span(weights, '.4g')}, all others by 1; divide the loss by "
        f"{divisor}"
    )
    return _option(name, change, action, "no samples")


def _option(name: str, change: MarginChange, action: str, cost: str) -> Option:
    if not change.needed:
        return Option(name, "not needed", "none", f"positive margin, {change.name}")
    return Option(name, action, cost + _shortfall(change), f"positive margin, {change.name}")


def _nothing(name: str, change: MarginChange) -> Option:
    if change.unconverged:
        action = f"not found: {change.unconverged} of the solves missed their tolerance"
    else:
        action = "nothing that was tried is enough"
    return Option(name, f"{action}; largest margin reached {change.smallest_margin:.3g}", "-", None)


def _shortfall(change: MarginChange) -> str:
    """What the next smaller change leaves."""
    if math.isnan(change.smallest_margin_short):
        return ""
    return (
        f"; smallest margin {change.smallest_margin:.2g}, and {change.smallest_margin_short:.2g} "
        "a step before"
    )


def _digits(value: float, rounding: Callable[[float], int]) -> float:
    """Four digits, rounded to the side on which the margin is positive."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return rounding(value / unit) * unit


def _found(advice: Advice) -> PositiveMargin:
    assert advice.positive_margin is not None
    return advice.positive_margin
