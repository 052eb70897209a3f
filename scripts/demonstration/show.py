"""The oracle's shift in Label Studio, and what its labels were worth."""

from __future__ import annotations

import numpy as np

from scripts.commands.shell import stderr, stdout
from scripts.demonstration.curve import Comparison, Measured, as_table, compare, verdict
from scripts.oracle import Answered
from scripts.run.config import Labeling
from scripts.run.finish import embedded_test_set
from scripts.run.live import LiveRun, Oracle, label


def annotate_and_compare(live: LiveRun, more: int, pace_s: float) -> None:
    """Let the oracle label so many more tasks at that many seconds each; print the curve."""
    answers: list[Answered] = []
    before = live.labeled_tasks()
    wanted = Labeling.model_validate({"target": {"labels": len(before) + more}})
    label(live, wanted, stderr, Oracle(pace_s, more, answers.append))
    stdout.print(shift_report(answers, more), highlight=False)
    with stderr.status("Measuring against random orders ..."):
        order = [*before, *(answer.task_id for answer in answers)]
        comparison, holdout_size = measured(live, order)
    stdout.print(as_table(comparison, holdout_size))
    stdout.print(verdict(comparison), highlight=False)


def shift_report(answers: list[Answered], asked: int) -> str:
    """Say how often the queue was ordered anew, and how often the model knew the answer."""
    prelabeled = [answer for answer in answers if answer.suggested]
    agreed = sum(answer.suggested == answer.choice for answer in prelabeled)
    orders = len({answer.model_version for answer in answers} - {None})
    unranked = sum(answer.model_version is None for answer in answers)
    text = f"{len(answers)} tasks labeled, in {orders} successive orders of the queue; "
    text += f"the model's prelabel was right in {agreed} of {len(prelabeled)}."
    if unranked:
        text += f" {unranked} came from outside the published window."
    if len(answers) < asked:
        text += " Label Studio has no more tasks for this annotator."
    return text


def measured(live: LiveRun, order: list[int]) -> tuple[Comparison, int]:
    """Compare the order in which tasks were labeled with random ones, by the backend's own network.

    Returns the comparison, and on how many images that were held back it was measured. Images that
    the backend could not embed are in no order.
    """
    bench, settings, test = live.bench(), live.settings, live.data.test
    assert test is not None  # the demo's table has a holdout
    classes, backbone, cache = bench.project.control.classes, bench.backbone(), bench.cache()
    images = [each for each in live.store.imported(live.project_id) if cache.has(each.content_hash)]
    rows = {each.task_id: row for row, each in enumerate(images)}
    labels_N = np.array([classes.index(str(each.label)) for each in images], dtype=np.int64)
    pool = Measured(cache.rows([each.content_hash for each in images]), labels_N)
    embeddings_ND, holdout_labels_N, _ = embedded_test_set(
        settings, classes, backbone, test, live.run.folder
    )
    served = [rows[task_id] for task_id in order if task_id in rows]
    holdout = Measured(embeddings_ND, holdout_labels_N)
    return compare(pool, holdout, served, len(classes), seed=settings.seed), len(holdout_labels_N)
