"""From pixels to one float32 tensor on a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ufm.torch.data.images import Split
from ufm.torch.data.subset import Subset

# Mean and standard deviation of each channel, pixels from 0 to 1, as the paper's code sets them.
_CHANNELS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
}


@dataclass(frozen=True)
class Preparation:
    """How pixels become inputs.

    Attributes
    ----------
    resize : int, optional
        Height and width that images are brought to (bilinear).
    pool : int
        Average over squares of so many pixels a side; 1 for none.
    whiten : int, optional
        Replace each image by its coordinates on so many leading principal components of the
        training images, each scaled to variance one. Inputs are then vectors, for an MLP. Pixels
        of photographs are so strongly correlated that an MLP learns them much more slowly.
    """

    resize: int | None = None
    pool: int = 1
    whiten: int | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive."""
        for name in ("resize", "pool", "whiten"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or int(value) != value or value < 1):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")


@dataclass(frozen=True)
class Tensors:
    """Inputs (N, ...) float32 and labels (N,) int64 of both splits, on one device."""

    train_inputs: torch.Tensor
    train_labels: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (C, H, W), or (d,) when whitened."""
        return tuple(self.train_inputs.shape[1:])


def prepare(
    subset: Subset,
    preparation: Preparation | None = None,
    *,
    name: str = "",
    device: torch.device | str = "cpu",
    channels_last: bool = False,
) -> Tensors:
    """Inputs and labels of a subset as tensors that stay on the device.

    Channels are shifted and scaled to mean 0 and deviation 1, with the constants of the paper's
    code for ``"cifar10"`` and ``"fashion-mnist"`` and the training images' own otherwise.

    Parameters
    ----------
    subset : Subset
        Images chosen by :func:`imbalanced_subset`.
    preparation : Preparation, optional
        Size and whitening; by default neither is touched.
    name : str
        Name of the data set, for its constants.
    device : torch.device or str
        Where the tensors stay.
    channels_last : bool
        Memory format of images, faster for convolutions on GPUs.

    Returns
    -------
    Tensors

    Raises
    ------
    ValueError
        If whitening asks for more components than there are images or pixels.
    """
    chosen = preparation or Preparation()
    mean, deviation = _channel_statistics(subset.train, name)
    train = _scaled(subset.train, mean, deviation, chosen)
    test = _scaled(subset.test, mean, deviation, chosen)
    if chosen.whiten is not None:
        train, test = _whitened(train, test, chosen.whiten)
    layout = torch.channels_last if channels_last and train.ndim == 4 else torch.contiguous_format
    return Tensors(
        train.to(device).contiguous(memory_format=layout),
        torch.from_numpy(subset.train.labels).to(device),
        test.to(device).contiguous(memory_format=layout),
        torch.from_numpy(subset.test.labels).to(device),
    )


def _channel_statistics(split: Split, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    if name in _CHANNELS and len(_CHANNELS[name][0]) == split.images.shape[1]:
        mean, deviation = _CHANNELS[name]
        return torch.tensor(mean), torch.tensor(deviation)
    pixels = split.images.astype(np.float64) / 255.0
    found = pixels.std(axis=(0, 2, 3))
    found[found == 0] = 1.0  # one flat colour
    return (
        torch.tensor(pixels.mean(axis=(0, 2, 3)), dtype=torch.float32),
        torch.tensor(found, dtype=torch.float32),
    )


def _scaled(
    split: Split, mean: torch.Tensor, deviation: torch.Tensor, chosen: Preparation
) -> torch.Tensor:
    pixels = torch.from_numpy(split.images).to(torch.float32).div_(255.0)
    pixels.sub_(mean.view(-1, 1, 1)).div_(deviation.view(-1, 1, 1))
    if chosen.resize is not None and pixels.shape[-2:] != (chosen.resize, chosen.resize):
        size = (chosen.resize, chosen.resize)
        pixels = torch.nn.functional.interpolate(
            pixels, size=size, mode="bilinear", antialias=True, align_corners=False
        )
    if chosen.pool > 1:
        pixels = torch.nn.functional.avg_pool2d(pixels, chosen.pool)
    return pixels


def _whitened(
    train: torch.Tensor, test: torch.Tensor, components: int
) -> tuple[torch.Tensor, torch.Tensor]:
    flat = train.flatten(1).double()
    largest = min(flat.shape[0] - 1, flat.shape[1])
    if components > largest:
        raise ValueError(
            f"whiten must be at most {largest} for {flat.shape[0]} images of {flat.shape[1]} "
            f"pixels, got {components}"
        )
    centre = flat.mean(0)
    flat = flat - centre
    if flat.shape[0] >= flat.shape[1]:
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
    else:
        values, left = torch.linalg.eigh(flat @ flat.T / len(flat))
        vectors = flat.T @ left / (values.clamp(min=values[-1] * 1e-14) * len(flat)).sqrt()
    # Eigenvalues ascend.
    values, vectors = values.flip(0)[:components], vectors.flip(1)[:, :components]
    if values[-1] <= values[0] * 1e-12:
        raise ValueError(f"whiten={components} is more than the rank of the training images")
    basis = vectors / values.sqrt()
    return (flat @ basis).float(), ((test.flatten(1).double() - centre) @ basis).float()
