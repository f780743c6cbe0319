"""
A long tail of 1,000 sizes
==========================

Every class has a size of its own; the continuum method solves some dozens of nodes and certifies
the exact problem.
"""

# %%
# Sizes by Zipf's law, from 60,000 down to 60.

import numpy as np
from matplotlib.figure import Figure

import ufm

counts = 60000 / np.arange(1, 1001.0)
unit = np.sqrt(counts.min()) / counts.sum()
solutions = {f: ufm.solve(counts, f * unit, 0.01, tol=1e-5) for f in (0.5, 2.0, 6.0)}
solutions[2.0]

# %%
# Own logits and biases are smooth functions of the size, with a kink where lambda_z equals
# sqrt(n) / N: from there on two classes of one size would merge.

figure = Figure(figsize=(8, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
for factor, solution in solutions.items():
    own = [solution.entry(k, k) for k in range(counts.size)]
    (line,) = left.loglog(counts, np.maximum(own, 1e-6), label=f"{factor:g} times")
    right.semilogx(counts, solution.b, color=line.get_color())
    if factor > 1:
        left.axvline(factor**2 * counts.min(), color=line.get_color(), linestyle=":")
left.set(xlabel="samples of a class", ylabel="own logit $z_{kk}$")
right.set(xlabel="samples of a class", ylabel="bias $b_k$")
left.legend(title="lambda_z in units\nof sqrt(min n) / N")
