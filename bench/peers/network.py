"""PyTorch on the network's own variables: classifier W (K, K), class means H (K, K), bias b.

Weight decay is lambda_W |W|^2 / 2 and lambda_H sum_k n_k |h_k|^2 / 2 with lambda_W lambda_H =
lambda_z^2. The parameter kept for H is H (D / mean n)^{1/2}, which makes all unknowns of one size:
L-BFGS needs that, and Adam does not mind.
"""

from __future__ import annotations

import math

import torch

from bench.cases import Case
from bench.peers.start import RESTARTS, balanced_factor
from bench.recorder import Point, Recorder

ADAM_RATE = 0.1
ADAM_PATIENCE = 50
LBFGS_MEMORY = 20
LBFGS_BLOCK = 10  # iterations between looks at the clock
STALLED = 3  # blocks without progress after which the line search is known to fail


class Network(torch.nn.Module):
    """Loss of the unconstrained feature model in (W, H, b), double precision."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        counts = torch.tensor(case.counts)
        mean = float(counts.mean())
        start = torch.tensor(balanced_factor(case))
        self.W = torch.nn.Parameter(start.clone())
        self.H = torch.nn.Parameter(start.clone())
        self.b = torch.nn.Parameter(torch.zeros(counts.numel(), dtype=torch.float64))
        self.pi = counts / counts.sum()
        self.root = torch.sqrt(counts / mean)
        self.decay = case.lambda_z * math.sqrt(mean)
        self.lambda_b = case.lambda_b

    def forward(self) -> torch.Tensor:
        logits = self.W @ self.H / self.root + self.b[:, None]
        loss = self.pi @ (torch.logsumexp(logits, dim=0) - torch.diagonal(logits))
        decay = self.decay * (self.W.square().sum() + self.H.square().sum())
        return loss + 0.5 * (decay + self.lambda_b * self.b.square().sum())

    def point(self) -> Point:
        with torch.no_grad():
            return (self.W @ self.H / self.root).numpy(), self.b.numpy().copy()


def run(optimiser: str, case: Case, recorder: Recorder) -> None:
    """Train until the gap or the time limit is reached."""
    network = Network(case)
    if optimiser == "adam":
        _adam(network, recorder)
    else:
        _lbfgs(network, recorder)


def _adam(network: Network, recorder: Recorder) -> None:
    adam = torch.optim.Adam(network.parameters(), lr=ADAM_RATE)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        adam, factor=0.7, patience=ADAM_PATIENCE, threshold=1e-9, min_lr=1e-8
    )
    while not recorder.offer(network.point):
        adam.zero_grad()
        loss = network()
        loss.backward()
        adam.step()
        schedule.step(loss.item())


def _lbfgs(network: Network, recorder: Recorder) -> None:
    """Run with fresh memory whenever the line search makes no more progress, a few times."""
    for _ in range(RESTARTS):
        if _descend(network, recorder):
            return
    recorder.offer(network.point, final=True)


def _descend(network: Network, recorder: Recorder) -> bool:
    """Run until told to stop (True) or without progress (False)."""
    lbfgs = torch.optim.LBFGS(
        network.parameters(),
        max_iter=LBFGS_BLOCK,
        history_size=LBFGS_MEMORY,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        lbfgs.zero_grad()
        loss: torch.Tensor = network()
        loss.backward()
        return loss

    previous, stalled = math.inf, 0
    while stalled < STALLED:
        value = float(lbfgs.step(closure).item())
        if recorder.offer(network.point):
            return True
        stalled = stalled + 1 if value >= previous else 0
        previous = value
    return False
