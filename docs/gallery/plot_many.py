"""
Thousands of problems at once
=============================

The soft edge of a verdict: how often a minority merges when class sizes are uncertain.
"""

# %%
# Five large classes of about 500 samples, five small of about 100, sizes drawn at random; one
# problem for each draw and lambda_z, 20,000 in all.

import numpy as np
from matplotlib.figure import Figure

import ufm

rng = np.random.default_rng(0)
draws, lambdas = 500, np.linspace(0.0025, 0.0045, 40)
sizes = np.column_stack([rng.poisson(500, draws), rng.poisson(100, draws)])
counts = np.repeat(np.repeat(sizes, 5, axis=1), lambdas.size, axis=0)
batch = ufm.solve_many(counts, np.tile(lambdas, draws), 0.02)
batch

# %%

share = (batch.collapsed_classes >= 5).reshape(draws, lambdas.size).mean(axis=0)
figure = Figure(figsize=(6.5, 3.2), layout="constrained")
axes = figure.subplots()
axes.plot(lambdas, share)
axes.axvline(np.sqrt(100) / 3000, color="0.4", linestyle=":", label="threshold at 500 and 100")
axes.set(xlabel="lambda_z", ylabel="share of draws in which\nthe minority merges")
axes.legend()
