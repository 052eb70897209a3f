"""Which parts of a network lie early and which late, for any convolutional net or transformer.

Knows modules and their order; nothing of pictures or training. A network is seen as a row of
blocks: containers are opened until what they hold are blocks of their own (residual blocks,
fire modules, transformer layers); parameters that belong to none (a class token, a norm at the
end) go with a neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ml_backend.errors import ConfigurationError
from ml_backend.learning.recipe import Recipe

_PLAIN = (nn.Sequential, nn.ModuleList)
# Published layer decays are those of ViT-B, which has twelve layers. A decay a layer of a network
# of fifty would leave its beginning as good as frozen.
REFERENCE_DEPTH = 12

Block = list[tuple[str, nn.Parameter]]


def blocks(network: nn.Module) -> list[Block]:
    """List the network's blocks of named parameters, earliest first. Each parameter is in one."""
    found: list[Block] = []
    leading: Block = []
    for named, is_block in _pieces(network, ""):
        if is_block:
            found.append(leading + named)
            leading = []
        elif found:
            found[-1] += named
        else:
            leading += named
    if leading:
        found.append(leading)
    return found


def trained_blocks(network: nn.Module, recipe: Recipe) -> list[tuple[Block, float]]:
    """Choose the blocks that learn, with each one's share of the learning rate.

    The last stage is the last quarter of the blocks: the stride-32 part of a ResNet-18 or a
    MobileNetV2, three of a ViT-B's layers. Raises ConfigurationError for a network that has
    nothing to train.
    """
    if recipe.trained == "head":
        return []
    found = blocks(network)
    if not found:
        raise ConfigurationError(
            f"trained={recipe.trained!r}: this network has no part that learns by gradient; "
            "expected head"
        )
    last_stage = max(1, round(len(found) / 4))
    first = len(found) - last_stage if recipe.trained == "last_stage" else 0
    step = REFERENCE_DEPTH / len(found)
    return [
        (block, recipe.layer_decay ** (step * (len(found) - place)))
        for place, block in enumerate(found)
        if place >= first
    ]


def parameter_groups(
    chosen: list[tuple[Block, float]], classifier: nn.Module, recipe: Recipe
) -> list[dict[str, Any]]:
    """Make AdamW's groups; `share` scales the learning rate. Vectors are not decayed."""
    groups = []
    for block, share in [*chosen, (list(classifier.named_parameters()), 1.0)]:
        matrices = [p for _, p in block if p.requires_grad and p.ndim > 1]
        vectors = [p for _, p in block if p.requires_grad and p.ndim <= 1]
        for parameters, decay in ((matrices, recipe.weight_decay), (vectors, 0.0)):
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "share": share})
    return groups


def batch_norms(network: nn.Module) -> list[nn.Module]:
    """List the layers that keep statistics of batches."""
    return [module for module in network.modules() if isinstance(module, _NormBase)]


def _pieces(module: nn.Module, prefix: str) -> Iterator[tuple[Block, bool]]:
    """Yield named parameters in order, and whether they make a block of their own."""
    own = [(prefix + name, p) for name, p in module.named_parameters(recurse=False)]
    if own:
        yield own, False
    for name, child in module.named_children():
        named = [(f"{prefix}{name}.{inner}", p) for inner, p in child.named_parameters()]
        if not named:
            continue
        if _is_container(child):
            yield from _pieces(child, f"{prefix}{name}.")
        else:
            yield named, not _is_vectorlike(named)


def _is_vectorlike(named: Block) -> bool:
    """Tell norms and biases, which go with a neighbour."""
    return all(parameter.ndim <= 1 for _, parameter in named)


def _is_container(module: nn.Module) -> bool:
    """Tell what holds blocks from what is one.

    Plain sequences hold blocks. Anything else does where it, or a sequence directly in it, is a
    row of equal parts that are more than a layer (a transformer's encoder, timm's stages).
    """
    if type(module) in _PLAIN:
        return True
    rows = [module] if isinstance(module, _PLAIN) else []
    rows += [child for child in module.children() if isinstance(child, _PLAIN)]
    return any(_is_row_of_equals(row) for row in rows)


def _is_row_of_equals(row: nn.Module) -> bool:
    parts = [part for part in row.children() if any(True for _ in part.parameters())]
    kinds = {type(part) for part in parts}
    return (
        len(parts) > 1
        and len(kinds) == 1
        and not isinstance(parts[0], nn.Sequential)
        and any(True for _ in parts[0].children())
    )
