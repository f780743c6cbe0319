"""
How far to oversample
=====================

The least oversampling keeps rare classes apart; being predicted takes more.
"""

# %%
# Ten classes of a long tail, the rarest four of one size. Which of them merge, and what prevents
# it?

import numpy as np
from matplotlib.figure import Figure

import ufm

counts = np.array([2000, 1200, 800, 500, 300, 200, 60, 60, 60, 60])
advice = ufm.advise(counts, lambda_z=0.0018, lambda_b=0.02)
advice

# %%
# The same question for factors beyond the least one: how sure is a network at the optimum of a rare
# class's training samples, and by what margin are they recognised?

factors = np.linspace(1, 16, 61)
found = [
    ufm.confusion(ufm.solve(np.where(counts == 60, 60 * factor, counts), 0.0018, 0.02))
    for factor in factors
]


def margin(one, k):
    """How clearly the training samples of class k are recognised; negative if they are not."""
    return one.clusters[one.solution.cluster_of[k]].margin


margins = {
    "rarest (60)": [margin(one, -1) for one in found],
    "largest (2000)": [margin(one, 0) for one in found],
}

figure = Figure(figsize=(7, 3.6), layout="constrained")
axes = figure.subplots()
for name, values in margins.items():
    axes.plot(factors, values, label=name)
least = max(cluster.factor for cluster in advice.clusters)
axes.axvline(least, color="0.4", linestyle=":", label=f"least factor, {least:.2f}")
axes.axhline(0, color="0.4", linewidth=0.8)
axes.set(xlabel="factor of oversampling", ylabel="own logit less the largest other")
axes.legend()
