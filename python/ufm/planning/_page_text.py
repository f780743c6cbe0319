"""What the report says and how it looks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ufm.planning import _wording as wording

if TYPE_CHECKING:
    from ufm.planning.advice import Advice

TITLE = "Will classes merge?"

SOURCE = (
    "W. Hong and S. Ling, Neural Collapse for Unconstrained Feature Model under Cross-entropy Loss "
    "with Imbalanced Data, arXiv 2309.09725."
)

QUESTION = (
    "A classifier is trained on classes of different sizes, with penalties on its last layer's "
    "weights and features. Trained long enough, it maps all samples of a class to one point. Small "
    "classes can lose more than that: several of them can end up with one and the same prediction, "
    "so that the classifier no longer tells them apart. This report says whether that happens with "
    "the sizes and penalties below, and what would prevent it."
)

PROTECT = {
    "tied": "classes that share their size with others, the only ones that can merge exactly",
    "all": "all classes, as if every size were shared by several",
}

NOTHING_TIED = (
    "No two classes have the same size, so that no two can share a prediction exactly and there is "
    "nothing to prevent. The soft-collapse index above says how close classes come. To get "
    "recommendations as if every size were shared by several classes, ask to protect all classes."
)

OPTIONS = (
    "Each of these is enough on its own, and the least of its kind up to the safety margin. The "
    "last column tells what came out when the changed problem was solved."
)

_MARGIN = (
    "Being apart is not enough to be recognised: a class whose own logit, with its bias, is below "
    "that of a larger class loses all its samples to that class. Each of these is enough on its "
    "own to make the own logit the largest at the optimum, and the least of its kind: found by "
    "solving a few dozen changed problems, in steps of ten per cent and then by bisection. Just "
    "positive is enough for the training samples; test samples need more. "
)

POSITIVE_MARGIN = {
    "free": _MARGIN + "The theory is that of features free to be negative.",
    "nonnegative": _MARGIN + "The theory is that of nonnegative features, as after a ReLU.",
}

ALONE = (
    "The smallest factor for the classes of one size when nothing else is changed. More samples of "
    "these raise their own threshold and lower all others, so that classes of another size may "
    "merge instead: the last column counts them."
)

NO_PICTURE = 'A picture would be here if matplotlib were installed: pip install "ufm[plot]".'

CAPTIONS = {
    "counts": "Samples per class, from the largest to the smallest, on a logarithmic scale. "
    "Classes that share their size merge on and below the solid line, and are short of "
    "the safety margin below the dashed one.",
    "index": "Soft-collapse index against class size. 0: the classes are told apart with "
    "certainty; 1: their predictions are the same. The line is lambda_z over the "
    "threshold, which classes that share their size follow exactly.",
    "plan": "Samples per class after oversampling, and where the merging line then is.",
}

ASSUMPTIONS = (
    "Free features: in the model every sample's feature can go anywhere. It knows nothing of "
    "images, networks or optimisers, and says what the losses and penalties alone ask for at their "
    "optimum.",
    "Training to the end: the statements are about the minimum of the penalised training loss, not "
    "about a network stopped early, and not about test error.",
    "Signed features: features taken after a ReLU cannot be negative and obey a slightly different "
    "problem.",
    "Repeated samples count as often as they are seen, in the loss and in the feature penalty. The "
    "model cannot tell them from new ones; a network can overfit to them.",
    "Enough feature dimensions: at least as many as the solution's rank, for which the number of "
    "classes is always enough.",
    "Normalised class weights are meant over the whole data set. A mini-batch divides by its own "
    "sum of weights, which agrees only on average and for large batches.",
)

GLOSSARY = (
    (
        "Mean prediction",
        "The scores (logits, without bias) that the common feature of a class gets.",
    ),
    ("Merge", "Several classes of one size have the same mean prediction."),
    (
        "lambda_z",
        "Strength of the regularisation, sqrt(lambda_W lambda_H), where the penalties are "
        "(lambda_W / 2) |W|^2 on the classifier's weights and (lambda_H / 2) times the sum of "
        "|h|^2 over all samples on the features.",
    ),
    (
        "Threshold",
        "Classes of n samples, N in all, merge exactly when lambda_z is at least sqrt(n) / N.",
    ),
    (
        "Soft-collapse index",
        "How little tells a class from the nearest one in size: 1 minus the mean of what each of "
        "the two predictions gives its own class more than the other prediction does. For classes "
        "of one size it is lambda_z over the threshold, and 1 once they merge.",
    ),
    (
        "Bias only",
        "The features of the class carry nothing, its prediction is the bias: the class sizes "
        "alone decide.",
    ),
    ("Oversampling factor", "How often each sample of a class is seen where others are seen once."),
    (
        "Class weight",
        "Factor on the loss of each sample of a class. Normalised: the loss is divided by the sum "
        "of weights, as the weighted mean in PyTorch is; plain: by the number of samples.",
    ),
    (
        "Relative gap",
        "Certificate of a solve: no solution can have an objective better by more than this part.",
    ),
)

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f4f2; color: #2b2b2b; line-height: 1.5;
  font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem; background: #fff; box-sizing: border-box; }
h1 { margin-top: 0; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
.verdict { font-size: 1.2rem; padding: 1rem; border-left: 6px solid; }
.good { border-color: #2a7f4f; background: #edf7f1; }
.warn { border-color: #b9801f; background: #fcf5e6; }
.bad { border-color: #b3372f; background: #fbeeec; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .93rem; }
th, td { padding: .3rem .8rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid #e5e5e5; white-space: nowrap;  font-variant-numeric: tabular-nums; }
th { font-weight: 600; background: #f4f4f2; white-space: normal; }
.facts td, .words td, .words th { text-align: left; }
.facts td, .words td { white-space: normal; }
.words td:nth-child(2) { min-width: 18rem; }
.words td:nth-child(3) { min-width: 11rem; }
.words td:nth-child(4) { min-width: 7rem; }
.checks td:first-child, .checks th:first-child { text-align: left; white-space: normal; }
.facts td:first-child, .words td:first-child { font-weight: 600; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; }
figcaption, .faint, footer { color: #666; font-size: .88rem; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin-left: 1.2rem; }
details { margin: 1rem 0; } summary { cursor: pointer; font-weight: 600; }
footer { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: .6rem; }
@media print { body { background: #fff; } h2, figure, table { break-inside: avoid; } }
"""


def bias_words(lambda_b: float) -> str:
    """What the weight of the bias penalty means."""
    if math.isinf(lambda_b):
        return "no bias (lambda_b = inf)"
    return "none (lambda_b = 0)" if lambda_b == 0 else f"lambda_b = {lambda_b:.6g}"


def rule(advice: Advice) -> str:
    """The threshold, with the numbers of this problem."""
    return (
        f"Classes of n samples merge with others of the same size exactly when lambda_z >= "
        f"sqrt(n) / N, with N samples in all. Here N = {wording.number(advice.num_samples)} and "
        f"lambda_z = {advice.lambda_z:.4g}: classes of at most {advice.merging_count:.4g} samples "
        "merge with others of their size."
    )


def verification(advice: Advice) -> str:
    """What stands behind the statements."""
    return (
        "The thresholds are a theorem and the recommendations follow from them by formula. Each "
        "was then put to the test: the problem it leads to was solved numerically, and each solve "
        "comes with a bound on how far from optimal it can be (relative gap). "
        + wording.closing(advice)
    )
