"""
Along lambda_z
==============

What becomes of three sizes of classes as the regularisation grows, and where.
"""

# %%
# The path solves a grid and bisects wherever the rank of Z changes.

import ufm

counts = [1000] * 3 + [300] * 3 + [60] * 4
path = ufm.path(counts, lambda_b=0.02, num=60)
path

# %%
# Own-class entries of Z above, its rank below. Dotted lines are the thresholds in closed form.

figure = ufm.figures.collapse_path(path.solutions)
