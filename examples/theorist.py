# %% [markdown]
# # When do classes collapse? A tour for a theorist
#
# Thresholds, one certified solution checked by hand, the path in lambda_z, the geometry of the
# factors, two limits, and the phase diagram, for the imbalanced problem of Hong and Ling
# (arXiv 2309.09725): five classes of 500 samples, five of 100.
#
#     python examples/theorist.py [FOLDER]
#
# FOLDER is where the pictures go, by default ufm-examples. Takes a few seconds.

# %%
import sys
from pathlib import Path

import numpy as np

import ufm
from ufm import figures

arguments = [word for word in sys.argv[1:] if not word.startswith("-")]
folder = Path(arguments[0] if len(arguments) == 1 else "ufm-examples")
folder.mkdir(parents=True, exist_ok=True)

counts = np.array([500] * 5 + [100] * 5)
lambda_b = 0.02
N, K = counts.sum(), counts.size

# %% [markdown]
# ## Thresholds
# A cluster of equal counts n merges exactly when lambda_z >= sqrt(n) / N.

# %%
found = ufm.thresholds(counts, lambda_b)
print(found.summary())
majority, minority = (cluster.collapse for cluster in found.clusters)

# %% [markdown]
# ## One solution, checked without the package
# Optimality (KKT): with P the softmax of the logits and G = (I - P) D^(1/2) / N, the operator
# norm of G is at most lambda_z, <G, Z D^(1/2)> = lambda_z ||Z D^(1/2)||_*, and
# lambda_b b = G sqrt(n). These lines use nothing of ufm but Z and b.

# %%
lambda_z = 0.9 * minority
solution = ufm.solve(counts, lambda_z, lambda_b, tol=1e-10)
print(f"\nlambda_z = 0.9 of the minority's threshold: {solution!r}")

logits = solution.Z + solution.b[:, None]
P = np.exp(logits) / np.exp(logits).sum(axis=0)
root = np.sqrt(counts)
G = (np.eye(K) - P) * root / N
X = solution.Z * root
nuclear = np.linalg.norm(X, "nuc")
print(f"  ||G|| / lambda_z                    {np.linalg.norm(G, 2) / lambda_z:.12f}")
print(f"  <G, X> / (lambda_z ||X||_*)         {np.sum(G * X) / (lambda_z * nuclear):.12f}")
print(f"  |lambda_b b - G sqrt(n)|, largest   {np.abs(lambda_b * solution.b - G @ root).max():.1e}")

# %% [markdown]
# ## The path in lambda_z
# Two hundred problems in one call; the rank of Z falls in three steps: the minority merges
# (rank 5), its common prediction vanishes (rank 4), and everything does (rank 0).

# %%
lambdas = np.union1d(
    np.geomspace(0.5 * minority, 1.2 * majority, 200),
    [edge * side for edge in (minority, majority) for side in (1 - 1e-6, 1 + 1e-6)],
)
path = ufm.solve_many(counts, lambdas, lambda_b)
steps = np.flatnonzero(np.diff(path.rank))
print(f"\n{path!r}")
for i in steps:
    print(
        f"  rank {path.rank[i]} -> {path.rank[i + 1]} between lambda_z = "
        f"{lambdas[i]:.9f} and {lambdas[i + 1]:.9f}"
    )
picture = figures.save(figures.collapse_path(list(path)), folder / "theorist-path.png")
print(f"  picture: {picture}")

# %% [markdown]
# ## Geometry of classifier and features
# With lambda_W = 4 lambda_H the optimal W (rows: classifier) and H (columns: class means) obey
# lambda_W W^T W = lambda_H H D H^T: duality holds with the counts inside, not up to a scalar.

# %%
lambda_w, lambda_h = 2 * lambda_z, lambda_z / 2
W, H = solution.factors(lambda_w=lambda_w, lambda_h=lambda_h)
left, right = lambda_w * W.T @ W, lambda_h * (H * counts) @ H.T
print(f"\nlambda_W W'W against lambda_H H D H': difference {np.abs(left - right).max():.1e}")
norms = np.linalg.norm(H, axis=0)
alignment = np.sum(W * H.T, axis=1) / (np.linalg.norm(W, axis=1) * norms)
print(f"  |h_k|: {norms[0]:.4f} (500 samples), {norms[-1]:.4f} (100 samples)")
print(f"  cos(w_k, h_k): {alignment[0]:.4f} and {alignment[-1]:.4f}; 1 would be self-duality")

# %% [markdown]
# ## Two slow limits
# As lambda_z -> 0 the direction of Z tends to I - J/K, and with lambda_z = 0.1/N and growing
# counts all cosines tend to -1/(K-1). Both only like one over a logarithm.

# %%
E = np.eye(K) - 1 / K
print("\nangle of Z to I - J/K (degrees), times log(1/lambda_z)")
for exponent in (5, 10, 20, 40, 80):
    Z = ufm.solve(counts, 10.0**-exponent, lambda_b).Z
    angle = np.degrees(np.arccos(np.sum(Z * E) / (np.linalg.norm(Z) * np.linalg.norm(E))))
    print(f"  lambda_z = 1e-{exponent:<3} {angle:8.4f} {angle * exponent * np.log(10):10.2f}")
print("cosines inside A, inside B, between; -1/9 = -0.1111")
for exponent in (3, 6, 12, 24):
    large = np.repeat([10.0**exponent, 10.0**exponent / 2], 5)
    cosines = figures.mean_cosines(ufm.solve(large, 0.1 / large.sum(), lambda_b))
    print(f"  n_A = 1e{exponent:<4}", *(f"{value:8.4f}" for value in cosines))

# %% [markdown]
# ## Phase diagram
# lambda_z against r = n_A / n_B: 14,400 solves for the colours, thresholds as curves. Between
# the collapse threshold and lambda_c the minority is merged but still told apart from the
# majority; above lambda_c the bias alone predicts it.

# %%
phase = figures.solve_phase_map(5, 5, 100, lambda_b, points=120)
ratio_5 = int(np.argmin(np.abs(phase.ratios - 5)))
print(f"\nthresholds at r = {phase.ratios[ratio_5]:.4f}")
for name, curve in phase.curves.items():
    print(f"  {name:<18} {curve[ratio_5]:.7f}")
picture = figures.save(phase.draw(), folder / "theorist-phase.png")
print(f"  picture: {picture}")
