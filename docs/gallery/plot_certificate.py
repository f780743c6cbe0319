"""
What a certificate is worth
===========================

The duality gap of an early stop bounds its error, however the point was found.
"""

# %%
# The proximal method, stopped after more and more iterations, against the optimum.

import numpy as np
from matplotlib.figure import Figure

import ufm

counts = np.geomspace(2000, 8, 40).round()
lambda_z, lambda_b = 0.5 * np.sqrt(8) / counts.sum(), 0.01
optimum = ufm.solve(counts, lambda_z, lambda_b, tol=1e-12)

steps = np.unique(np.geomspace(1, 1000, 40).astype(int))
options = {"method": "proximal", "tol": 1e-13}
runs = [ufm.solve(counts, lambda_z, lambda_b, max_iterations=int(s), **options) for s in steps]
errors = [run.objective / optimum.objective - 1 for run in runs]

figure = Figure(figsize=(6.5, 3.6), layout="constrained")
axes = figure.subplots()
axes.loglog(steps, [run.relative_gap for run in runs], label="certified gap")
axes.loglog(steps, np.maximum(errors, 1e-16), label="true error of the objective")
axes.set(xlabel="iterations", ylabel="relative")
axes.legend()

# %%
# The gap lies above the error everywhere. It is of first order in the distance to the optimum, the
# error of second order: hence the two slopes.

all(run.relative_gap >= error - 1e-15 for run, error in zip(runs, errors, strict=True))
