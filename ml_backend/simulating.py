"""Simulate: replay labeling over gathered images, and tell which strategy to take.

The story of `active-labeler simulate`: gather (beside), replay, summarise, advise, write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ml_backend import __version__
from ml_backend.errors import ConfigurationError
from ml_backend.gathering import Gathered
from ml_backend.simulation.advice import advise
from ml_backend.simulation.cells import Cells
from ml_backend.simulation.replay import Contender, split
from ml_backend.simulation.report import Results, write
from ml_backend.simulation.running import Plan, run
from ml_backend.simulation.summary import summarise

LEAST_BATCH, ROUNDS = 10, 30  # unless asked otherwise


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for. None: chosen by the data (`plan_of`)."""

    contenders: tuple[Contender, ...]
    seeds: int
    batch: int | None
    labels: int | None
    test_share: float
    accuracies: tuple[float, ...]


def simulate(
    gathered: Gathered,
    wanted: Wanted,
    folder: Path,
    jobs: int,
    on_progress: Callable[[str, int, int], None],
) -> Results:
    """Replay what the folder has not yet, write the results there, and return them.

    Raises ConfigurationError where the folder holds a simulation of other data or budgets.
    """
    plan = plan_of(gathered, wanted)
    cells = Cells(
        folder,
        {
            "data": gathered.data_hash,
            "images": gathered.facts["images"],
            "budgets": plan.budgets,
            "test share": plan.test_share,
            **{f"backbone {name}": key for name, key in gathered.backbone_keys.items()},
        },
    )
    curves = run(gathered.sets, plan, cells, jobs, partial(on_progress, "replaying"))
    rows = summarise(curves, wanted.accuracies)
    results = Results(
        data=gathered.facts,
        plan={
            "strategies": [contender.label for contender in plan.contenders],
            "backbones": dict(gathered.backbone_keys),
            "seeds": plan.seeds,
            "budgets": plan.budgets,
            "test_share": plan.test_share,
            "version": __version__,
        },
        notes=gathered.notes,
        rows=rows,
        advice=advise(rows, curves),
        curves=curves,
    )
    write(results, folder)
    return results


def plan_of(gathered: Gathered, wanted: Wanted) -> Plan:
    """Settle how many labels a replay goes up to, in which steps.

    Raises ConfigurationError where the pool has not so many.
    """
    images = next(iter(gathered.sets.values()))
    pool_P, test_T = split(images.labels_N, 0, wanted.test_share)
    if not len(test_T):
        raise ConfigurationError(
            f"--test-share {wanted.test_share}: leaves no image to test on; give a larger share"
        )
    batch = wanted.batch or max(LEAST_BATCH, len(images.classes))
    labels = wanted.labels or min(ROUNDS * batch, max(len(pool_P) // 2, 2 * batch))
    if not batch < labels <= len(pool_P):
        raise ConfigurationError(
            f"{labels} labels in batches of {batch}: expected more labels than one batch, and no "
            f"more than the {len(pool_P)} images that are left to label beside {len(test_T)} held "
            "out for testing (--labels, --batch, --test-share)"
        )
    budgets = sorted({*range(batch, labels + 1, batch), labels})
    return Plan(wanted.contenders, tuple(budgets), wanted.seeds, wanted.test_share)
