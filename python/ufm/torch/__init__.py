"""What needs PyTorch (extra ``torch``).

- :func:`ufm.torch.solve` solves problems with very many different classes on a PyTorch device.

Importing this package does not import PyTorch; using a name of it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ufm.torch.solver import solve

_HOMES = {"solve": "ufm.torch.solver"}

__all__ = ["solve"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ufm.torch' has no attribute {name!r}")
    try:
        value = getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ImportError(
            f'ufm.torch.{name} needs PyTorch, which is not installed: pip install "ufm[torch]"'
        ) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
