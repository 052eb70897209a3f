"""The benchmark that holds the appraisal against the truth holds it against the right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.appraisal_truth import judged
from benchmarks.appraisal_truth_report import write_report
from benchmarks.image_sets import ImageSet
from benchmarks.planted_errors import KINDS, METHODS, confident_learning
from benchmarks.project_simulation import MOMENTS, QUEUE, RANDOM, SIZES, Arrays, simulate
from tests.unit.appraisal.projects import CLASSES, blobs

LABELS, HELD_OUT = MOMENTS[-1]
N_CLASSES = 3


def observed(audit: float, fresh: float, random: float) -> tuple[Arrays, Arrays]:
    """Return a project whose heads get these shares right, whatever they were fitted on."""
    n_fresh = 1000
    cell: Arrays = {"fresh": np.arange(n_fresh), "variance200": np.array(0.0)}
    for queue in (QUEUE, RANDOM):
        cell[f"{queue}.audit"] = np.tile(np.arange(HELD_OUT) < audit * HELD_OUT, (len(SIZES), 1))
        cell[f"{queue}.fresh"] = np.tile(np.arange(n_fresh) < fresh * n_fresh, (len(SIZES), 1))
    cell["right200"] = (np.arange(HELD_OUT) < random * HELD_OUT).astype(float)
    truth = {"200": (np.arange(n_fresh) < random * n_fresh).astype(float)}
    return cell, truth


def test_an_interval_around_the_truth_covers_it_and_one_elsewhere_does_not() -> None:
    near = judged(*observed(0.8, 0.82, 0.6), QUEUE, LABELS, HELD_OUT, N_CLASSES)
    far = judged(*observed(0.8, 0.6, 0.6), QUEUE, LABELS, HELD_OUT, N_CLASSES)
    assert near["accuracy"]["covered"]
    assert not far["accuracy"]["covered"]
    assert near["gain"]["true"] == 0


def test_a_stated_saving_that_is_none_is_false() -> None:
    """On the holdout the queue is ahead from the start; on fresh images it never gets there."""
    true = judged(*observed(0.8, 0.8, 0.6), QUEUE, LABELS, HELD_OUT, N_CLASSES)["saved"]
    false = judged(*observed(0.8, 0.5, 0.6), QUEUE, LABELS, HELD_OUT, N_CLASSES)["saved"]
    assert (true["claims_saving"], true["false"], true["covered"]) == (True, False, True)
    assert (false["claims_saving"], false["false"], false["covered"]) == (True, True, False)


def test_a_project_shares_no_image_between_queue_audit_and_fresh() -> None:
    points_ND, labels_N = blobs(2000, seed=0)
    project = simulate(ImageSet(CLASSES, labels_N, points_ND, "blobs", "points"), RANDOM, 3)
    parts = [project.queue_M, project.audit_A, project.fresh_F]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert [len(part) for part in parts] == [400, 300, 1000]


def test_confident_learning_takes_each_classs_own_mean_for_its_threshold() -> None:
    """Class 0 has 0.9, 0.7 and 0.2 of itself: 0.6. Class 1 has 0.8 and 0.4: 0.6."""
    probs_LC = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    assert confident_learning(probs_LC, np.array([0, 0, 0, 1, 1])) == [2, 4]


def test_the_report_counts_projects_and_replaces_its_part_of_the_page(tmp_path: Path) -> None:
    found = judged(*observed(0.8, 0.8, 0.6), QUEUE, LABELS, HELD_OUT, N_CLASSES)
    records = [
        {"set": "blobs", "seed": 0, "queue": queue, "labels": m, "held_out": h, **found}
        for queue in (QUEUE, RANDOM)
        for m, h in MOMENTS
    ]
    flips = {f"{kind}.{method}": [10, 8, 6, 7] for kind in KINDS for method in METHODS}
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- appraisal-truth: start -->\nold\n<!-- appraisal-truth: end -->\nb\n")
    write_report(
        [*records, {"set": "blobs", "seed": 0, **flips}], command="it", out=tmp_path, docs=page
    )
    text = page.read_text()
    assert "old" not in text
    assert "100 % [21, 100]" in text  # one of one
    assert "75 ± 0 %" in text  # 6 of the 8 suspected
    assert (tmp_path / "appraisal_truth.json").exists()
