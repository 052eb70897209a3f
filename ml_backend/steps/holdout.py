"""Which images are held out to measure models on, and where they stand in the queue.

A share of a project's images is drawn by their content, once and for all: whatever is labeled,
added, deleted or imported again, an image stays on its side, and so does its exact copy. Drawn
images are never trained on and never ranked by the strategy. They are served in the order of the
draw, which has nothing to do with what they show, at the pace of their share (the *audit*), so
that the labeled ones are a random sample of the project's images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

REASON = "Drawn at random, to measure the model on; shown without the model's answer."
_HEX_DIGITS = 13  # 52 bits: what a float holds exactly
_NUMBERS = 16**_HEX_DIGITS


@dataclass(frozen=True, slots=True)
class Holdout:
    """The definition of a project's holdout: `share` of its images, in [0, 1)."""

    share: float
    project_id: int

    def draw(self, content_hash: str) -> float:
        """Return an image's number in [0, 1), by the SHA-256 (hex) of its file's bytes.

        The hash is as good as random already; the project's own number is mixed in, so that an
        image is not drawn in every project that has it.
        """
        return float((int(content_hash[:_HEX_DIGITS], 16) ^ _salt(self.project_id)) / _NUMBERS)

    def has(self, content_hash: str) -> bool:
        """Tell whether an image belongs to the holdout."""
        return self.share > 0 and self.draw(content_hash) < self.share

    def facts(self) -> dict[str, float | int]:
        """Return the definition as JSON, for a model's card."""
        return {"share": self.share, "project_id": self.project_id}


def interleave(
    ranked_N: NDArray[np.int64],
    audit_A: NDArray[np.int64],
    share: float,
    *,
    trained_on: int,
    held_out: int,
) -> NDArray[np.int64]:
    """Merge the strategy's order and the audit's into one, wanted first: (N + A).

    An audit task stands wherever the labeled (`trained_on` and `held_out` by now, and what stands
    before it) would otherwise hold less than `share` of audit tasks. So the pace is kept however
    often the queue is ranked anew; after a gap no two follow each other while others are left.
    """
    if not len(audit_A):
        return ranked_N
    k_A = np.arange(len(audit_A))
    # The place at which held_out + k + 1 of labeled + place + 1 are at most the share.
    due_A = np.ceil((held_out + k_A + 1) / share - 1e-9) - 1 - trained_on - held_out
    spaced_A = np.maximum.accumulate(np.maximum(due_A, 0) - 2 * k_A) + 2 * k_A
    behind_A = np.minimum(spaced_A - k_A, len(ranked_N)).astype(np.int64)
    merged: NDArray[np.int64] = np.insert(ranked_N, behind_A, audit_A)
    return merged


def reasons_in_order(
    order_N: NDArray[np.int64], audit_from: int, reasons: Sequence[str]
) -> tuple[str, ...]:
    """Give each place of `order_N` its reason, as far as the strategy's own reach.

    Rows from `audit_from` on are audit tasks.
    """
    own = iter(reasons)
    told: list[str] = []
    for row in order_N.tolist():
        reason = REASON if row >= audit_from else next(own, None)
        if reason is None:
            break
        told.append(reason)
    return tuple(told)


@lru_cache(maxsize=64)
def _salt(project_id: int) -> int:
    digest = hashlib.sha256(f"holdout of project {project_id}".encode()).hexdigest()
    return int(digest[:_HEX_DIGITS], 16)
