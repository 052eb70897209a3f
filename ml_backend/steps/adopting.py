"""Adopt: put another model in force without a moment in which the queue is empty or mixed.

First the pool is embedded by it, while the model before goes on; then the project is switched, in
one step of the store; then the next round orders the queue by it and publishes that as any other
order. A round that is at work meanwhile ends with the model that it began with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ml_backend.steps.embed import embed_beside
from ml_backend.steps.workbench import Workbench

if TYPE_CHECKING:  # these load torch
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.embeddings import EmbeddingCache

ADOPTED = "promote"  # what a round is asked for by


def put_in_force(
    bench: Workbench,
    model: str | None,
    why: str,
    backbone: Backbone,
    cache: EmbeddingCache,
    between_batches: Callable[[int, int], None],
) -> None:
    """Embed what is not there yet, switch, and ask for a round. None: the configured backbone.

    Images that come meanwhile are embedded by that round. What `between_batches` raises is raised,
    and nothing is switched.
    """
    project_id = bench.project.project_id
    embed_beside(bench, backbone, cache, bench.store.task_ids(project_id), between_batches)
    bench.store.switch_model(project_id, model, why, bench.now())
    bench.store.mark_dirty(project_id, ADOPTED, bench.now())
