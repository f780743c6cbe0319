"""Labelled images in memory: where they come from, imbalanced subsets, preparation.

- :func:`load_images` reads scikit-learn's digits (the default), torchvision's CIFAR folders, IDX
  files and trees or tar archives of image files.
- :func:`imbalanced_subset` takes a stated number of images of each class.
- :func:`prepare` turns them into one float32 tensor on a device.
"""

from ufm.torch.data.images import Images, Split
from ufm.torch.data.prepare import Preparation, prepare
from ufm.torch.data.sources import load_images
from ufm.torch.data.subset import Subset, imbalanced_subset

__all__ = [
    "Images",
    "Preparation",
    "Split",
    "Subset",
    "imbalanced_subset",
    "load_images",
    "prepare",
]
