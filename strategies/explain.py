"""Why a task stands where it stands, whichever place that is: numbers, and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_backend.errors import UnrankableInput
from strategies.geometry import Directions
from strategies.query import Query
from strategies.ranking import Ranking, reason_at, sorted_row
from strategies.reasons import Reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """One task's place in a ranking.

    place: 0 for the first, of `pool_size`. reason: of the strategy in the head; behind it the turn
    of its cluster, a sure model, or a repetition. nearest_labeled: row of the labeled task most
    like it, and how alike they are, the cosine of their directions around the pool's mean in
    [-1, 1]; None where nothing is labeled or the pool has no embeddings.
    """

    place: int
    pool_size: int
    reason: Reason
    nearest_labeled: int | None
    likeness: float | None

    def text(self, class_names: Sequence[str] | None = None) -> str:
        """Return it in words; classes by name where the names are given."""
        where = f"Place {self.place + 1:,} of {self.pool_size:,}."
        likeness = (
            f" Likeness to what is labeled: {self.likeness:.2f}."
            if self.likeness is not None
            else ""
        )
        return f"{where} {self.reason.text(class_names)}{likeness}"


def explain(ranking: Ranking, row: int) -> Explanation:
    """Say why the task of this pool row stands where it stands. Raises UnrankableInput."""
    if not 0 <= row < len(ranking):
        raise UnrankableInput(f"row {row}: expected a row from 0 to {len(ranking) - 1}")
    place = int(np.flatnonzero(ranking.order == row)[0])
    memory = ranking.memory
    assert memory is not None  # the pool is not empty
    nearest, likeness = _nearest_labeled(memory.query, sorted_row(memory, row))
    return Explanation(place, len(ranking), reason_at(ranking, place), nearest, likeness)


def _nearest_labeled(query: Query, sorted_row: int) -> tuple[int | None, float | None]:
    if query.candidates.embeddings_ND is None or not len(query.labeled):
        return None, None
    directions = Directions.of_pool(query.embeddings_ND, query.labeled.embeddings_MD)
    task_1D = directions.of(query.embeddings_ND[sorted_row : sorted_row + 1])
    alike_M = (directions.of(query.labeled.embeddings_MD) @ task_1D.T)[:, 0]
    nearest = int(alike_M.argmax())
    return nearest, float(alike_M[nearest])
