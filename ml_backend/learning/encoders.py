"""Finds a network's features in somebody's checkpoint, whatever it was wrapped in.

Knows how self-supervised trainings (SimCLR, SimSiam, MoCo, BYOL, DINO, VISSL, lightly) and training
scripts nest and prefix what they save. Nothing is loaded by halves: every feature is there, by name
and shape, or it is an error that names what is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ml_backend.errors import WeightsUnavailable
from ml_backend.learning.weights import what_does_not_fit

MAX_DEPTH = 6  # VISSL nests four deep
# A counter of training steps that older files lack; it has no influence on features.
_COUNTER = "num_batches_tracked"
# What trainings put on top of an encoder, by the first part of the name.
_HEADS = (
    *("classifier", "fc", "head", "heads", "linear", "head_dist", "dino_head", "mlp_head"),
    *("projector", "projection", "projection_head", "proj", "proj_head", "contrastive_head"),
    *("predictor", "prediction_head", "prototypes", "queue", "queue_ptr"),
)
# Of two encoders that fit, the one that a method's authors evaluate: MoCo's query, DINO's teacher,
# BYOL's online network, and averaged weights where a training script kept some.
_AVOIDED = ("student", "momentum", "target", "encoder_k", "optim")
_PREFERRED = ("ema",)


@dataclass(frozen=True, slots=True)
class Encoder:
    """The features of a network as they were found in a checkpoint."""

    state: dict[str, Tensor]  # by the network's own names, all of them
    wrapper: tuple[str, ...]  # the keys that lead to them
    prefix: str  # what was stripped from each name
    by_position: bool  # layers were numbered rather than named
    left_out: tuple[str, ...]  # names beside the features, as the checkpoint has them

    def __str__(self) -> str:
        """Say what was done to the checkpoint; empty where nothing was."""
        said = []
        if self.wrapper:
            said.append(f"inside {'.'.join(self.wrapper)!r}")
        if self.prefix:
            said.append(f"prefix {self.prefix!r} stripped")
        if self.by_position:
            said.append("layers matched by their position")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One way to read the checkpoint; `names` are its names for the network's."""

    wrapper: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    prefix: str
    names: Mapping[str, str]
    by_position: bool

    def fitting(self, expected: Mapping[str, Tensor]) -> int:
        """Count entries that are there in the right shape."""
        return sum(
            found.shape == tensor.shape
            for name, tensor in expected.items()
            if (found := self.tensors.get(self.prefix + self.names[name])) is not None
        )

    def preference(self) -> tuple[int, bool, int, int]:
        """Order what fits equally well; the greatest is taken."""
        words = ".".join((*self.wrapper, self.prefix)).lower()
        avoided = any(word in words for word in _AVOIDED)
        preferred = any(word in words.replace(".", "_").split("_") for word in _PREFERRED)
        return (preferred - avoided, not self.by_position, -len(self.wrapper), -len(self.prefix))


def find_encoder(
    network: nn.Module, checkpoint: Mapping[str, object], place: str, classifier: tuple[str, ...]
) -> Encoder:
    """Find the state of a network without its classifier in a checkpoint.

    `place` names the file in messages, `classifier` the layers that the network was built without.
    Raises WeightsUnavailable, naming what is missing, too much or of another shape.
    """
    expected = network.state_dict()
    best = max(
        _candidates(network, expected, checkpoint),
        key=lambda candidate: (candidate.fitting(expected), candidate.preference()),
    )
    if best.fitting(expected) < len(expected) / 2:  # another network: told best by its own names
        best = _plainly(expected, checkpoint)
    return _encoder(best, expected, place, classifier)


def _encoder(
    best: _Candidate, expected: Mapping[str, Tensor], place: str, classifier: tuple[str, ...]
) -> Encoder:
    back = {best.prefix + theirs: ours for ours, theirs in best.names.items()}
    state = {back[name]: tensor for name, tensor in best.tensors.items() if name in back}
    counters = {k: v for k, v in expected.items() if k.endswith(_COUNTER) and k not in state}
    left_out = sorted(best.tensors.keys() - back.keys())
    foreign = {
        name if best.by_position else name.removeprefix(best.prefix): best.tensors[name]
        for name in left_out
        if name.startswith(best.prefix)
        and not _is_head(name.removeprefix(best.prefix), best.names, classifier)
    }
    encoder = Encoder(
        {**state, **counters}, best.wrapper, best.prefix, best.by_position, tuple(left_out)
    )
    if misfits := what_does_not_fit(expected, {**encoder.state, **foreign}, shown=20):
        how = f" (read as it fits best: {encoder})" if str(encoder) else ""
        raise WeightsUnavailable(f"weights={place} are not those of this network{how}. {misfits}")
    return encoder


def _is_head(name: str, names: Mapping[str, str], classifier: tuple[str, ...]) -> bool:
    """Tell what lies on top of the features from what belongs among them."""
    if any(name == layer or name.startswith(f"{layer}.") for layer in classifier):
        return True
    first = name.partition(".")[0]
    return first in _HEADS and not any(theirs.startswith(f"{first}.") for theirs in names.values())


def _candidates(
    network: nn.Module, expected: Mapping[str, Tensor], checkpoint: Mapping[str, object]
) -> Iterator[_Candidate]:
    yield _plainly(expected, checkpoint)
    spellings = (
        ({name: name for name in expected}, False),
        (_by_position(network, expected), True),
    )
    for wrapper, tensors in _nested(checkpoint):
        for names, by_position in spellings:
            for prefix in _prefixes(tensors, list(names.values())):
                yield _Candidate(wrapper, tensors, prefix, names, by_position)


def _plainly(expected: Mapping[str, Tensor], checkpoint: Mapping[str, object]) -> _Candidate:
    """Read the biggest mapping of tensors by the network's own names."""
    wrapper, tensors = max(_nested(checkpoint), key=lambda nested: len(nested[1]))
    return _Candidate(wrapper, tensors, "", {name: name for name in expected}, False)


def _by_position(network: nn.Module, expected: Mapping[str, Tensor]) -> dict[str, str]:
    """Name entries as in nn.Sequential(*network.children()), which lightly's examples build."""
    positions = {name: str(row) for row, (name, _) in enumerate(network.named_children())}
    renamed = {}
    for name in expected:
        first, dot, rest = name.partition(".")
        renamed[name] = positions.get(first, first) + dot + rest
    return renamed


def _prefixes(tensors: Mapping[str, Tensor], names: list[str]) -> set[str]:
    """Find what stands before some of the network's names, whole parts only."""
    anchors = names[:3] + names[-3:]
    before = {name.removesuffix(a) for name in tensors for a in anchors if name.endswith(a)}
    return {prefix for prefix in before if prefix == "" or prefix.endswith(".")}


def _nested(
    value: Mapping[str, object], wrapper: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Give every mapping inside that holds tensors, with the keys that lead to it."""
    tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield wrapper, tensors
    for name, inner in value.items():
        if isinstance(inner, Mapping) and isinstance(name, str) and len(wrapper) < MAX_DEPTH:
            yield from _nested(inner, (*wrapper, name))
