"""Convolutions that pad as TensorFlow does, for weights that were trained there.

Knows torch's layers. TensorFlow's "SAME" puts the odd pixel at the bottom and the right, torch's
`padding` spreads it on both sides; with a stride the two look at different pixels, which costs
converted weights many points of accuracy.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from torch import Tensor, nn


class SamePaddedConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding. Its state is that of a plain Conv2d."""

    def forward(self, input: Tensor) -> Tensor:
        """Pad by what this input's size asks for, then convolve."""
        height, width = int(input.shape[-2]), int(input.shape[-1])
        top, bottom = self._pads(height, axis=0)
        left, right = self._pads(width, axis=1)
        return super().forward(F.pad(input, (left, right, top, bottom)))

    def _pads(self, length: int, axis: int) -> tuple[int, int]:
        stride, reach = self.stride[axis], self.dilation[axis] * (self.kernel_size[axis] - 1)
        outputs = -(-length // stride)
        total = max((outputs - 1) * stride + reach + 1 - length, 0)
        return total // 2, total - total // 2


def pad_as_tensorflow(network: nn.Module) -> int:
    """Replace, in place, each strided convolution that pads; parameters and names stay.

    Returns how many there were.
    """
    found = [
        (name, layer)
        for name, layer in network.named_modules()
        if type(layer) is nn.Conv2d  # subclasses have ways of their own
        and max(layer.stride) > 1
        and layer.padding not in ((0, 0), "valid")
    ]
    for name, layer in found:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, _same_padded(layer))
    return len(found)


def _same_padded(layer: nn.Conv2d) -> SamePaddedConv2d:
    same = SamePaddedConv2d(
        layer.in_channels,
        layer.out_channels,
        kernel_size=(layer.kernel_size[0], layer.kernel_size[1]),
        stride=(layer.stride[0], layer.stride[1]),
        dilation=(layer.dilation[0], layer.dilation[1]),
        groups=layer.groups,
        bias=layer.bias is not None,
        device="meta",  # its parameters are those of `layer`
    )
    same.weight, same.bias = layer.weight, layer.bias
    return same.train(layer.training)
