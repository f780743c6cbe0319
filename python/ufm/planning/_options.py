"""The ways to keep classes apart, in words: what to do and what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ufm.planning._wording import classes, number, span

if TYPE_CHECKING:
    from ufm.planning.advice import Advice


@dataclass(frozen=True)
class Option:
    """One way out: what to do and what it costs."""

    name: str
    action: str
    cost: str
    check: str | None  # name of the check that confirms it


def options(advice: Advice) -> list[Option]:
    """The recommendations, each on its own sufficient."""
    if not any(cluster.protected for cluster in advice.clusters):
        return []
    return [_smaller_lambda(advice), *_oversample(advice), *_weigh(advice)]


def _smaller_lambda(advice: Advice) -> Option:
    largest = advice.largest_lambda_z
    factor = largest / advice.lambda_z
    allowed = "no change needed" if factor >= 1 else f"{factor:.3g} times the present one"
    action = f"lambda_z up to {largest:.4g}"
    if advice.largest_weight_decay is not None:
        action += (
            f", such as weight_decay {advice.largest_weight_decay:.4g} with the feature_decay given"
        )
    return Option("Regularise less", action, allowed, "largest lambda_z")


def _oversample(advice: Advice) -> list[Option]:
    plan, name = advice.oversampling, "Oversample"
    who = "every class" if advice.protect == "all" else "every class that shares its size"
    if not plan.needed:
        return [Option(name, "not needed", "none", "as given")]
    if plan.feasible and plan.level is not None and plan.samples is not None:
        assert plan.added is not None
        raised = int((plan.samples > advice.counts).sum())
        factors = [c.factor for c in advice.clusters if c.factor is not None and c.factor > 1]
        action = (
            f"repeat samples of {who} below {number(plan.level)} up to that number: "
            f"{classes(raised)}, factors {span(factors)}"
        )
        more = plan.added / advice.num_samples
        cost = f"{number(plan.added)} samples more (+{more:.2%})"
        return [Option(name, action, cost, "oversampling")]
    assert plan.best_samples is not None and plan.best_level is not None
    action = (
        f"impossible at this lambda_z: more samples lower all thresholds, and no factors serve "
        f"beyond lambda_z = {plan.limit_lambda_z:.4g}. Raising {who} below "
        f"{number(plan.best_level)} to that number allows lambda_z = {plan.best_lambda_z:.4g}"
    )
    added = float((plan.best_samples - advice.counts).sum())
    cost = (
        f"{number(added)} samples more (+{added / advice.num_samples:.2%}), and a smaller lambda_z"
    )
    return [Option(name, action, cost, "best oversampling, with the lambda_z that it allows")]


def _weigh(advice: Advice) -> list[Option]:
    weights = advice.weights
    if not weights.needed:
        return [Option("Class weights", "not needed", "none", "as given")]
    raised = [c for c in advice.clusters if c.plain_weight is not None and c.plain_weight > 1]
    many = classes(sum(c.multiplicity for c in raised))
    plain = Option(
        "Class weights, plain",
        f"weigh the loss of {many} by {span(c.plain_weight for c in raised)}, all others by 1; "
        "divide the loss by the number of samples",
        "no samples; the weighted classes count for more in the loss",
        "class weights, plain",
    )
    name = "Class weights, normalised"
    if weights.normalised is None:
        return [
            plain,
            Option(
                name,
                "impossible at this lambda_z: what some classes gain others lose, and no weights "
                f"serve beyond lambda_z = {weights.limit_lambda_z:.4g}",
                "-",
                None,
            ),
        ]
    raised = [
        c for c in advice.clusters if c.normalised_weight is not None and c.normalised_weight > 1
    ]
    many = classes(sum(c.multiplicity for c in raised))
    return [
        plain,
        Option(
            name,
            f"weigh the loss of {many} by {span(c.normalised_weight for c in raised)}, all others "
            "by 1; the loss is divided by the summed weights, as by "
            "torch.nn.CrossEntropyLoss(weight=...)",
            "no samples; the thresholds of all other classes fall",
            "class weights, normalised",
        ),
    ]
