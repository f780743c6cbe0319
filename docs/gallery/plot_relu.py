"""
Features after a ReLU
=====================

Most networks have nonnegative last features. That is another convex problem, with another answer.
"""

# %%
# The same class sizes and penalties just below the threshold of free features: free features keep
# the minority apart, nonnegative ones do not.

import ufm

counts = [500] * 5 + [100] * 5
free = ufm.solve(counts, 0.0033, 0.02)
relu = ufm.nonnegative_solution(counts, 0.0033, 0.02)
figure = ufm.figures.heatmaps([free, relu], ["features of any sign", "nonnegative features"])

# %%

ufm.nonnegative_thresholds(counts, lambda_b=0.02)
