"""Large products on a torch device: the same picks. torch's CPU device stands for a GPU here."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ml_backend.errors import ConfigurationError
from strategies import STRATEGIES, rank
from strategies.closeness import closest_to
from strategies.clusters import nearest
from strategies.geometry import gaussian
from tests.unit.strategies.pools import blobs

N = 3000
HEAD = 40  # further down two gains of herding differ in the seventh digit alone: a tie
ON_THE_DEVICE = {
    "coreset",
    "dropquery",
    "kmeans",
    "maxherding",
    "mmr",
    "uherding",
    "weighted_kmeans",
}


class Products(TorchDispatchMode):
    """Counts torch's matrix products, and notes the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.n, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.n += func in (torch.ops.aten.mm.default, torch.ops.aten.mv.default)
        if isinstance(made, torch.Tensor):
            self.largest = max(self.largest, made.numel())
        return made


@pytest.mark.parametrize("name", STRATEGIES)
def test_picks_are_those_of_numpy_and_nothing_is_as_large_as_all_pairs(name: str) -> None:
    candidates, labeled = blobs(N, dim=32)
    orders = {}
    products = Products()
    for device in (None, "cpu"):
        with products:
            ranking = rank(
                name, candidates, labeled, head=HEAD, rng=np.random.default_rng(0), device=device
            )
        orders[device] = ranking.order[:HEAD].tolist()
        if device is None:
            assert products.n == 0
    assert orders["cpu"] == orders[None]
    assert (products.n > 0) == (name in ON_THE_DEVICE)
    assert products.largest < N * N


def test_functions_that_run_where_their_rows_are_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    rows_ND = rng.normal(size=(2000, 16)).astype(np.float32)
    few_BD, halves_B = rows_ND[:7], rng.random(7).astype(np.float32)
    rows, few = torch.from_numpy(rows_ND), torch.from_numpy(few_BD)
    np.testing.assert_allclose(
        closest_to(rows, few, halves_B), closest_to(rows_ND, few_BD, halves_B), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(nearest(rows, few_BD), nearest(rows_ND, few_BD))
    np.testing.assert_allclose(
        gaussian(rows, few, 3.0).numpy(), gaussian(rows_ND, few_BD, 3.0), rtol=1e-4, atol=1e-6
    )


def test_device_that_is_not_there_is_refused_by_name() -> None:
    candidates, labeled = blobs(10)
    with pytest.raises(ConfigurationError, match=r"device='abacus': expected None for numpy"):
        rank("coreset", candidates, labeled, rng=np.random.default_rng(0), device="abacus")


def test_numpy_is_all_that_is_loaded_where_no_device_is_asked_for() -> None:
    code = (
        "import sys, numpy as np\n"
        "from strategies import Candidates, Labeled, rank\n"
        "pool = Candidates(np.arange(9), None, np.eye(9, dtype=np.float32))\n"
        "rank('coreset', pool, Labeled.none(), rng=np.random.default_rng(0))\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
