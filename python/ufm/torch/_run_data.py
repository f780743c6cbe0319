"""The images of a run, as tensors on its device."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ufm.counts import load_counts
from ufm.torch.config import DataConfig
from ufm.torch.data import Images, Preparation, imbalanced_subset, load_images, prepare
from ufm.torch.data.prepare import Tensors
from ufm.torch.data.sources import Stamp, located

_Ready = tuple[NDArray[np.int64], Tensors]


def run_data(
    given: DataConfig,
    device: torch.device,
    images: Images | None = None,
    *,
    channels_last: bool = False,
) -> _Ready:
    """Counts (K,) and tensors of a run's images; those of the last run are kept for the next."""
    if images is not None:
        return _chosen(given, device, images, channels_last)
    return _loaded(given, device, channels_last, located(given.source, given.path or None))


@lru_cache(maxsize=1)
def _loaded(
    given: DataConfig, device: torch.device, channels_last: bool, place: tuple[Path | None, Stamp]
) -> _Ready:
    """The tensors; `place` tells the images on the disk from what they were before."""
    return _chosen(given, device, load_images(given.source, given.path or None), channels_last)


def _chosen(given: DataConfig, device: torch.device, images: Images, channels_last: bool) -> _Ready:
    subset = imbalanced_subset(images, np.asarray(load_counts(given.counts)), given.seed)
    preparation = Preparation(given.resize or None, given.pool, given.whiten or None)
    return subset.counts, prepare(
        subset, preparation, name=given.source, device=device, channels_last=channels_last
    )
