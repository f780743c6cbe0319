"""
Minority collapse
=================

Five classes of 500 samples, five of 100, as the regularisation grows. Column k of a panel is the
mean prediction of class k.
"""

# %%
# At and above lambda_z = sqrt(100) / 3000 the five small classes share one prediction. A further
# threshold makes that prediction zero, and the last one takes the large classes as well.

import ufm

counts = [500] * 5 + [100] * 5
ufm.bias_only_thresholds(counts, lambda_b=0.02)

# %%
# One solution between each two of them, all on one colour scale:

solutions = [ufm.solve(counts, lambda_z, 0.02) for lambda_z in (0.0027, 0.0036, 0.0051, 0.0075)]
figure = ufm.figures.heatmaps(solutions)

# %%
# Every solution carries a certificate: no Z and b can have an objective below the dual one.

solutions[1]
