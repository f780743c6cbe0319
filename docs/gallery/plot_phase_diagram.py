"""
Phase diagram
=============

Regularisation against imbalance: where a minority is separate, merged, predicted by the bias alone.
"""

# %%
# Five classes of r times 100 samples, five of 100; 22,500 problems.

import numpy as np

import ufm

lambda_z, ratio = np.geomspace(3e-4, 2e-2, 150), np.geomspace(1.1, 100, 150)
diagram = ufm.phase_diagram(5, 5, 100, lambda_z=lambda_z, ratio=ratio, lambda_b=0.02)
figure = ufm.figures.phase_diagram(diagram)

# %%
# The curves are closed forms (lambda_c: one equation), the colours come from the solutions alone.

ufm.two_cluster_thresholds((5, 5), (500, 100), lambda_b=0.02)
