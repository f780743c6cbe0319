# %% [markdown]
# # Will my small classes merge? For people who train classifiers
#
# You know how many samples each class has and how you regularise. The model says which classes
# end up with one and the same prediction, by what margin, and what prevents it. It knows nothing
# of your images: it is the best case, a network whose features can go anywhere. Classes that
# merge here merge because of the penalties and the counts alone.
#
#     python examples/practitioner.py [FOLDER]
#
# FOLDER is where the picture goes, by default ufm-examples. Takes a few seconds. Put your own
# numbers into the next cell; `ufm.counts.load_counts("sizes.csv")` reads a column `count`.

# %%
import math
import sys
from pathlib import Path

import numpy as np

import ufm
from ufm import figures

arguments = [word for word in sys.argv[1:] if not word.startswith("-")]
folder = Path(arguments[0] if len(arguments) == 1 else "ufm-examples")
folder.mkdir(parents=True, exist_ok=True)

samples = {
    **{f"common {i}": 2000 for i in range(1, 5)},
    **{f"uncommon {i}": 400 for i in range(1, 4)},
    **{f"rare {i}": 60 for i in range(1, 4)},
}
names, counts = list(samples), np.array(list(samples.values()), dtype=float)
N = counts.sum()

# The loss: mean cross-entropy + weight_decay/2 |W|^2 + feature_decay/2 (sum over all samples of
# |h|^2) + bias_decay/2 |b|^2. Mind the factors 1/2 and the sum when you fill in yours.
weight_decay, feature_decay, bias_decay = 5e-4, 3e-3, 0.02
lambda_z = math.sqrt(weight_decay * feature_decay)

# %% [markdown]
# ## Which classes merge, by what margin
# Classes of n samples merge when lambda_z >= sqrt(n) / N.

# %%
print(f"lambda_z = {lambda_z:.6f}, N = {N:.0f} samples")
for cluster in ufm.thresholds(counts, bias_decay).clusters:
    ratio = lambda_z / cluster.collapse
    verdict = "MERGE" if ratio >= 1 else "stay apart"
    print(
        f"  {cluster.multiplicity} classes of {cluster.count:5.0f}: threshold "
        f"{cluster.collapse:.6f}, lambda_z is {ratio:.2f} of it: {verdict}"
    )

# %% [markdown]
# ## What the trained network will predict
# A solve gives the mean logits of every class. The certificate bounds how far from optimal it is.


# %%
def probabilities(solution):
    """Predicted probabilities, shape (K, K): column k is the prediction for class k's samples."""
    logits = solution.Z + solution.b[:, None]
    P = np.exp(logits - logits.max(axis=0))
    return P / P.sum(axis=0)


def describe(title, solution):
    P = probabilities(solution)
    print(f"\n{title} (relative gap {solution.relative_gap:.0e}, {solution.status.name})")
    for k in (0, 4, 7):
        best = np.flatnonzero(P[:, k] >= P[:, k].max() * (1 - 1e-9))
        taken = names[best[0]] if len(best) == 1 else " = ".join(names[i] for i in best)
        print(f"  '{names[k]}': own probability {P[k, k]:.3f}, most likely: {taken}")


before = ufm.solve(counts, lambda_z, bias_decay)
describe("as it is", before)
merged = [names[k] for k in np.flatnonzero(before.collapsed)]
print(f"  merged: {', '.join(merged)}")

# %% [markdown]
# ## Three remedies, each confirmed by a solve
# Oversampling raises n but also N; the factor is found by trying the threshold. A class weight w
# in the loss moves the threshold to w sqrt(n) / N. Less weight decay lowers lambda_z.

# %%
rare = before.collapsed
smallest = counts[rare].min()


def oversampled(factor):
    return np.where(rare, counts * factor, counts)


def threshold_of_smallest(changed):
    return math.sqrt(changed[rare].min()) / changed.sum()


# More than N_others / N_rare gains nothing: from there on N grows faster than sqrt(n).
most = int(counts[~rare].sum() / counts[rare].sum())
factor = next(
    (w for w in range(1, most + 1) if threshold_of_smallest(oversampled(w)) > lambda_z), None
)
if factor is None:
    raise SystemExit("no oversampling keeps these classes apart: lower the penalties")
more = ufm.solve(oversampled(factor), lambda_z, bias_decay)
fewer = ufm.solve(oversampled(factor - 1), lambda_z, bias_decay)
describe(f"every rare sample {factor} times", more)
print(
    f"  merged now: {more.collapsed.sum()} classes; one copy fewer: {fewer.collapsed.sum()}; "
    f"cost: {(factor - 1) * counts[rare].sum():.0f} more samples an epoch"
)

weight = 1.02 * lambda_z * N / math.sqrt(smallest)
weighted = ufm.solve(counts, lambda_z, bias_decay, class_weights=np.where(rare, weight, 1.0))
describe(f"class weight {weight:.3f} for the rare ones", weighted)
print(f"  merged now: {weighted.collapsed.sum()} classes")

largest_decay = smallest / N**2 / feature_decay
lighter_z = math.sqrt(0.98 * largest_decay * feature_decay)
lighter = ufm.solve(counts, lighter_z, bias_decay)
describe(f"weight decay below {largest_decay:.3g} instead of {weight_decay:g}", lighter)
print(f"  merged now: {lighter.collapsed.sum()} classes")

# %% [markdown]
# Staying apart is not yet being predicted well: just past the threshold the rare classes differ
# by little. Go further until the own probability suits you.

# %%
print("\nown probability of a rare class by how often its samples are repeated")
for repeats in (1, factor, 2 * factor, 4 * factor, 8 * factor):
    P = probabilities(ufm.solve(oversampled(repeats), lambda_z, bias_decay))
    print(f"  {repeats:3} times: rare {P[-1, -1]:.3f}, common {P[0, 0]:.3f}")

picture = figures.save(
    figures.heatmaps(
        [before, more, weighted],
        ["as it is", f"rare samples {factor} times", f"class weight {weight:.2f}"],
    ),
    folder / "practitioner.png",
)
print(f"picture: {picture}")
