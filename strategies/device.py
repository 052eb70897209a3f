"""Where the large products run: in numpy, or on a torch device by the same lines of code.

What is asked for here has the same name and arguments in both (einsum, exp, clip, amax, operators,
slices), so that the caller takes the module that fits the array and writes it once. Only what a
profile showed to be most of a strategy is written like that, and only numbers per row or a block
of similarities come back: what is picked is decided in numpy. torch is imported where a device is
asked for, and nowhere else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ml_backend.errors import ConfigurationError
from strategies.arrays import FloatArray

Matrix = Any  # a numpy array, or a torch tensor on its device
_DEVICE_ROWS = 16_384  # of one block on a device: small ones leave it idle


def require_device(device: str | None) -> None:
    """Raise ConfigurationError for what is not a device of the torch that is installed."""
    if device is None:
        return
    try:
        import torch

        torch.empty(0, device=device)
    except (ImportError, RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigurationError(
            f"device={device!r}: expected None for numpy, or a device of an installed torch, "
            f"such as cuda or mps ({error})"
        ) from error


def placed(rows_ND: FloatArray, device: str | None) -> Matrix:
    """Return the rows where they are to be worked on: as they are, or float32 on a torch device."""
    if device is None:
        return rows_ND
    import torch

    return torch.as_tensor(rows_ND, dtype=torch.float32, device=device)


def beside(rows: FloatArray, matrix: Matrix) -> Matrix:
    """Return numpy rows where `matrix` is."""
    return rows if isinstance(matrix, np.ndarray) else placed(rows, str(matrix.device))


def module_of(matrix: Matrix) -> Any:
    """Return numpy for its arrays, torch for its tensors."""
    if isinstance(matrix, np.ndarray):
        return np
    import torch

    return torch


def on_host(matrix: Matrix) -> Any:
    """Return a numpy array; what is one already is not copied."""
    return matrix if isinstance(matrix, np.ndarray) else matrix.cpu().numpy()


def block_rows(matrix: Matrix, cached_rows: int) -> int:
    """Return how many rows to work on at once: what stays in a CPU's cache, or fills a device."""
    return cached_rows if isinstance(matrix, np.ndarray) else _DEVICE_ROWS
