"""A whole appraisal: every key, from nothing at all to a project with everything."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml_backend.appraisal.appraising import appraise
from ml_backend.appraisal.evidence import Evidence, Opinion
from ml_backend.learning.head import fit_head
from tests.unit.appraisal.projects import CLASSES, evidence

KEYS = {
    "accuracy",
    "curve",
    "labels_saved",
    "calibration",
    "confusion",
    "per_class",
    "suspects",
    "disagreements",
    "second_opinions",
    "advice",
    "map",
}


def test_a_whole_project_has_everything() -> None:
    found = appraise(evidence())
    assert found.keys() == KEYS
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
    assert found["curve"]["queue"][-1]["labels"] == 120
    assert found["curve"]["random"][-1]["labels"] == 40
    assert found["labels_saved"]["random_labels"] == 20
    assert np.sum(found["confusion"]) == 80
    assert sum(each["labels"] for each in found["per_class"]) == 120
    assert sum(each["pool_predicted"] for each in found["per_class"]) == 200
    assert sum(each["n"] for each in found["calibration"]["bins"]) == 80
    assert found["map"]["of"] == 120 + 80 + 200
    assert len(found["map"]["points"]) == 50


@pytest.mark.parametrize("sizes", [(0, 0, 0), (0, 0, 5), (1, 1, 0), (5, 0, 9), (0, 30, 9)])
def test_every_key_is_there_whatever_is_missing(sizes: tuple[int, int, int]) -> None:
    queue, holdout, pool = sizes
    found = appraise(evidence(queue=queue, holdout=holdout, pool=pool))
    assert found.keys() == KEYS
    assert found["labels_saved"]["state"] == "cannot tell yet"
    assert found["labels_saved"]["sentence"]
    assert found["advice"]["verdict"] == "cannot tell yet"
    json.dumps(found, allow_nan=False)


def test_a_project_of_one_class_has_nothing_to_tell_apart() -> None:
    """Every label is the same, as where a config has a single choice."""
    alone = evidence()
    ones_M, ones_H = np.zeros(120, np.int64), np.zeros(80, np.int64)
    head = fit_head(alone.embeddings_MD, ones_M, 1)
    assert head is not None
    found = appraise(
        replace(
            alone,
            classes=("ant",),
            labels_M=ones_M,
            holdout_labels_H=ones_H,
            head=head,
            probs_NC=head.probs(np.zeros((200, 8), np.float32)),
        )
    )
    assert found["accuracy"]["value"] == 1
    assert found["suspects"] == []
    assert found["labels_saved"]["state"] == "cannot tell yet"


def test_it_is_json_and_the_same_for_the_same_evidence() -> None:
    first, second = (json.dumps(appraise(evidence()), allow_nan=False) for _ in range(2))
    assert first == second


def test_a_planted_error_is_suspected_in_the_queue_and_in_the_holdout() -> None:
    """Task 1 was trained on, task 1001 was not."""
    found = appraise(evidence(noise=0.3, wrong=1))
    assert {each["task"] for each in found["suspects"][:2]} == {1, 1001}
    assert found["suspects"][0]["label"] in found["suspects"][0]["sentence"]


def tuned(**changes: Any) -> Evidence:
    """Return a project whose network was trained on all but the last 20 of its labels."""
    return evidence(unseen_M=np.arange(120) >= 100, **changes)


def test_a_network_that_has_seen_the_labels_has_no_curve() -> None:
    found = appraise(tuned(curve_note="Of the first 120 labels."))
    assert found["curve"]["queue"] == found["curve"]["random"] == []
    assert found["curve"]["note"].startswith("Of the first 120 labels. The network in force was")
    assert found["labels_saved"]["state"] == "cannot tell yet"
    assert found["accuracy"] is not None
    unseen = set(range(101, 121)) | set(range(1001, 1081))
    assert {each["task"] for each in found["suspects"]} <= unseen


def test_the_curve_is_drawn_of_the_pretrained_network_where_it_is_given() -> None:
    whole = evidence()
    found = appraise(
        tuned(
            embeddings_MD=np.zeros_like(whole.embeddings_MD),
            curve_embeddings_MD=whole.embeddings_MD,
            curve_embeddings_HD=whole.holdout_embeddings_HD,
        )
    )
    assert found["curve"] == appraise(whole)["curve"]


def test_what_people_disagree_on_is_told() -> None:
    said = (Opinion(1, 7, 0), Opinion(1, 8, 1), Opinion(1, 9, 1), Opinion(2, 7, 2))
    found = appraise(evidence(opinions=said))["disagreements"]
    assert [each["task"] for each in found] == [1]
    assert found[0]["sentence"] == "Of 3 people 2 say bee, 1 says ant."
    assert found[0]["answers"][0] == {"annotator": 7, "label": CLASSES[0]}


def test_agreement_is_of_those_of_the_sample_that_are_still_in_the_pool() -> None:
    whole = evidence()
    assert whole.probs_NC is not None
    said_N = whole.probs_NC.argmax(axis=1).tolist()
    before = dict(zip(whole.pool_ids_N.tolist(), said_N, strict=True)) | {1: 0, 1001: 2}
    found = appraise(replace(whole, previous_predictions=before))["advice"]["agreement"]
    assert (found["value"], found["n"]) == (1.0, 200)


def test_arrays_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="probs_NC has 200 rows, expected 3"):
        appraise(evidence(pool_ids_N=np.arange(3), uncertainty_N=None))
    with pytest.raises(ValueError, match=r"labels_M spans 9\.\.9"):
        appraise(evidence(labels_M=np.full(120, 9)))
