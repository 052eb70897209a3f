"""Search by example: the unlabeled tasks that look most like given tasks or image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import Mirror
from ml_backend.learning.images import decode
from ml_backend.steps.situation import situate
from ml_backend.steps.workbench import Workbench
from strategies import Candidates, Labeled, rank
from strategies.geometry import Directions

LARGEST_FILE_BYTES = 100 * 2**20


def find_similar(
    bench: Workbench, task_ids: Sequence[int], files: Sequence[Path], count: int
) -> list[tuple[int, float]]:
    """Return up to `count` (task, cosine to its nearest example), most alike first.

    By the embeddings of the model in force, seen from the pool's mean. Tasks that are drawn for the
    holdout are left out: put at the front, they would no longer be a random sample. Raises
    ConfigurationError for a task without an embedding, ImageUnreadable for a file that is no image.
    """
    mirror, cache = bench.store.mirror(bench.project.project_id), bench.cache()
    cache.refresh()
    situation = situate(mirror, bench.project.control, bench.holdout, cache.has)
    examples_KD = _examples(bench, mirror, task_ids, files)
    looked_for = ~np.isin(situation.candidate_ids_N, list(task_ids))
    ids_N = situation.candidate_ids_N[looked_for]
    names = [
        name for name, is_in in zip(situation.candidate_hashes, looked_for, strict=True) if is_in
    ]
    if not names:
        return []
    embeddings_ND = cache.rows(names)
    nobody = Labeled(np.empty((0, cache.dim), np.float32), np.empty(0, np.int64))
    ranking = rank(
        "similar",
        Candidates(ids_N, None, embeddings_ND),
        nobody,
        head=count,
        rng=np.random.default_rng(bench.plan.seed),
        examples_KD=examples_KD,
    )
    first = ranking.order[:count]
    directions = Directions.of_pool(embeddings_ND, examples_KD)  # as the strategy compares them
    cosines_FK = directions.of(embeddings_ND[first]) @ directions.of(examples_KD).T
    return list(zip(ids_N[first].tolist(), cosines_FK.max(axis=1).tolist(), strict=True))


def _examples(
    bench: Workbench, mirror: Mirror, task_ids: Sequence[int], files: Sequence[Path]
) -> NDArray[np.float32]:
    """Return the embeddings of the examples, one row each."""
    names = dict(zip(mirror.task_ids.tolist(), mirror.content_hashes, strict=True))
    without = [
        each for each in task_ids if not (names.get(each) and bench.cache().has(names[each]))
    ]
    if without:
        raise ConfigurationError(
            f"no embedding is known of task {', '.join(map(str, without))}: it is not in project "
            f"{bench.project.project_id}, cannot be read, or waits for the next round"
        )
    rows = [bench.cache().rows([str(names[each]) for each in task_ids])] if task_ids else []
    return np.concatenate([*rows, *(_embedded(bench, file) for file in files)])


def _embedded(bench: Workbench, file: Path) -> NDArray[np.float32]:
    if file.stat().st_size > LARGEST_FILE_BYTES:
        raise ConfigurationError(f"{file} has more than {LARGEST_FILE_BYTES} bytes")
    backbone = bench.backbone()
    image = decode(file.read_bytes(), bench.plan.image_max_pixels)
    return backbone.embed([backbone.preprocess(image)])
