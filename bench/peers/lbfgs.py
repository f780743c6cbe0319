"""SciPy's L-BFGS-B on the factored form Z D^{1/2} = U V^T, in vectorised numpy."""

from __future__ import annotations

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from bench.cases import Array, Case
from bench.peers.start import RESTARTS, balanced_factor
from bench.recorder import Point, Recorder

OPTIONS = {
    "maxcor": 20,
    "ftol": 0.0,
    "gtol": 0.0,
    "maxiter": 10**8,
    "maxfun": 10**8,
    "maxls": 50,
}


class Factored:
    """Objective and gradient in (U, V, b) with U V^T = Z (D / mean n)^{1/2}.

    Dividing by the mean count makes all unknowns of one size, which L-BFGS needs.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.size = case.counts.size
        mean = float(case.counts.mean())
        self.root = np.sqrt(case.counts / mean)
        self.pi = case.counts / case.counts.sum()
        self.penalty = case.lambda_z * float(np.sqrt(mean))

    def split(self, x: Array) -> tuple[Array, Array, Array]:
        square = self.size**2
        shape = (self.size, self.size)
        return x[:square].reshape(shape), x[square : 2 * square].reshape(shape), x[2 * square :]

    def start(self) -> Array:
        factor = balanced_factor(self.case).ravel()
        return np.concatenate([factor, factor, np.zeros(self.size)])

    def point(self, x: Array) -> Point:
        U, V, b = self.split(x)
        return (U @ V.T) / self.root, b.copy()

    def __call__(self, x: Array) -> tuple[float, Array]:
        lambda_b = self.case.lambda_b
        U, V, b = self.split(x)
        logits = (U @ V.T) / self.root
        logits += b[:, None]
        own = np.diag(logits).copy()
        top = logits.max(axis=0)
        P = np.exp(logits - top)
        total = P.sum(axis=0)
        loss = self.pi @ (top + np.log(total) - own)
        P *= self.pi / total
        np.fill_diagonal(P, np.diag(P) - self.pi)
        slope_b = P.sum(axis=1) + lambda_b * b
        P /= self.root
        value = loss + 0.5 * self.penalty * (np.vdot(U, U) + np.vdot(V, V))
        value += 0.5 * lambda_b * (b @ b)
        slopes = (P @ V + self.penalty * U, P.T @ U + self.penalty * V)
        gradient = np.concatenate([s.ravel() for s in slopes] + [slope_b])
        return float(value), gradient


def run(case: Case, recorder: Recorder) -> None:
    """Run until the gap or the time limit is reached; all stopping rules of SciPy are off.

    It still ends when its line search fails, and then starts afresh from there, a few times.
    """
    problem = Factored(case)
    stopped = False

    def watch(intermediate_result: OptimizeResult) -> None:
        nonlocal stopped
        if recorder.offer(lambda: problem.point(intermediate_result.x)):
            stopped = True
            raise StopIteration

    x = problem.start()
    for _ in range(RESTARTS):
        x = minimize(problem, x, jac=True, method="L-BFGS-B", callback=watch, options=OPTIONS).x
        if stopped:
            return
    recorder.offer(lambda: problem.point(x), final=True)
