"""TensorFlow's padding: the odd pixel lies at the bottom and the right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ml_backend.errors import ConfigurationError
from ml_backend.learning.networks import TENSORFLOW_PADDING, vary
from ml_backend.learning.padding import SamePaddedConv2d, pad_as_tensorflow


def counting(padding: int = 1, stride: int = 2) -> nn.Sequential:
    """A 3 x 3 convolution of ones: it counts how many pixels of a white picture it sees."""
    layer = nn.Conv2d(1, 1, 3, stride=stride, padding=padding, bias=False)
    nn.init.ones_(layer.weight)
    return nn.Sequential(layer)


@pytest.mark.parametrize(
    ("side", "by_torch", "by_tensorflow"),
    [
        (4, [[4, 6], [6, 9]], [[9, 6], [6, 4]]),  # torch starts one pixel further up and left
        (3, [[4, 4], [4, 4]], [[4, 4], [4, 4]]),  # an odd side leaves one pixel for each end
    ],
)
def test_what_a_strided_convolution_sees(
    side: int, by_torch: list[list[int]], by_tensorflow: list[list[int]]
) -> None:
    white, network = torch.ones(1, 1, side, side), counting()
    assert network(white)[0, 0].tolist() == by_torch
    assert pad_as_tensorflow(network) == 1
    assert network(white)[0, 0].tolist() == by_tensorflow


def test_parameters_names_and_training_stay() -> None:
    network = counting().train()
    before, names = network[0].weight, list(network.state_dict())
    pad_as_tensorflow(network)
    assert isinstance(network[0], SamePaddedConv2d)
    assert network[0].weight is before
    assert (list(network.state_dict()), network[0].training) == (names, True)
    network(torch.ones(1, 1, 4, 4)).sum().backward()
    assert before.grad is not None


def test_convolutions_that_do_not_pad_or_stride_are_left_alone() -> None:
    for network in (counting(padding=0), counting(stride=1)):
        assert pad_as_tensorflow(network) == 0
        with pytest.raises(ConfigurationError, match="no strided convolution that pads"):
            vary(network, (TENSORFLOW_PADDING,))
