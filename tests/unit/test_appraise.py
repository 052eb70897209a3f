"""An appraisal: gathered from what is there, completed with facts, saved whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_backend.appraisal.evidence import Evidence
from ml_backend.appraisal_file import last_appraisal
from ml_backend.appraise import PREVIEWED, appraise_project
from ml_backend.steps.evidence import AppraisalBench, gather, sample
from tests.loop import Loop, truth

CLASSES = ("cat", "hound", "bird")


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Sixty tasks, a third drawn for the holdout; fifteen are labeled."""
    made = Loop(tmp_path)
    made.server.add_tasks(60)
    made.store.update_project(made.project_id, audit_share=0.3)
    made.ask("connect")
    made.run()
    for task_id in reversed(made.server.served_order(15)):
        made.label(task_id)
    made.run()
    return made


def bench(loop: Loop, **changes: Any) -> AppraisalBench:
    project = loop.store.get_project(loop.project_id)
    assert project is not None
    fields = {
        "project": project,
        "store": loop.store,
        "results": loop.trainer.last_results(loop.project_id),
        "cache": loop.cache,
        "learned_from": frozenset(),
        "curves_of": lambda _task_ids: (None, ""),
        "folder": loop.folder / "project",
        "seed": 0,
        "prelabel": True,
    }
    return AppraisalBench(**fields | changes)


def put_another_first(loop: Loop) -> None:
    audit = set(loop.trainer.last_results(loop.project_id).audit_ids_A.tolist())
    odd = next(each for each in reversed(loop.server.served_order(60)) if each not in audit)
    loop.store.ask_front(loop.project_id, [odd], "it looks odd", loop.now())
    loop.run()


def said_nothing(_evidence: Evidence) -> dict[str, Any]:
    return {"suspects": []}


def test_labels_come_in_the_order_in_which_they_were_given(loop: Loop) -> None:
    evidence = gather(bench(loop), None).evidence
    given = [each.task_id for each in loop.server.annotation_table.values()]
    held_out = set(evidence.holdout_ids_H.tolist())
    assert evidence.labeled_ids_M.tolist() == [each for each in given if each not in held_out]
    assert evidence.holdout_ids_H.tolist() == [each for each in given if each in held_out]
    assert 0 < len(held_out) < 15
    labels = [CLASSES[row] for row in evidence.labels_M]
    assert labels == [truth(task_id) for task_id in evidence.labeled_ids_M]


def test_arrays_of_one_letter_run_in_parallel(loop: Loop) -> None:
    evidence = gather(bench(loop), None).evidence
    red_of = {"cat": 0, "hound": 1, "bird": 2}
    for ids, vectors in (
        (evidence.labeled_ids_M, evidence.embeddings_MD),
        (evidence.holdout_ids_H, evidence.holdout_embeddings_HD),
        (evidence.map_ids_K, evidence.map_embeddings_KD),
    ):
        assert vectors.argmax(axis=1).tolist() == [red_of[truth(int(each))] for each in ids]
    assert len(evidence.pool_ids_N) == len(evidence.probs_NC) == 45
    known = evidence.map_labels_K >= 0
    assert known.sum() == 15
    assert len(evidence.opinions) == 15
    assert evidence.unseen_M is None


def test_what_a_fine_tuned_network_has_learned_from_is_told_apart(loop: Loop) -> None:
    first = gather(bench(loop), None)
    known = first.hashes[int(first.evidence.labeled_ids_M[0])]
    evidence = gather(
        bench(
            loop,
            learned_from=frozenset([known]),
            curves_of=lambda _task_ids: (loop.cache, "of another network"),
        ),
        None,
    ).evidence
    assert evidence.unseen_M.tolist() == [False] + [True] * (len(evidence.labels_M) - 1)
    assert np.array_equal(evidence.curve_embeddings_MD, evidence.embeddings_MD)
    assert evidence.curve_note == "of another network"


def test_the_file_has_facts_and_findings(loop: Loop) -> None:
    made = appraise_project(bench(loop), loop.now(), said_nothing)
    assert last_appraisal(loop.folder / "project") == json.loads(json.dumps(made))
    assert made["suspects"] == []
    assert made["classes"] == list(CLASSES)
    assert made["made_at"] == loop.now().isoformat()
    counts = made["counts"]
    assert (counts["tasks"], counts["labeled"], counts["pool"]) == (60, 15, 45)
    assert counts["trained_on"] + counts["held_out"] == 15
    assert made["model_version"] == loop.server.settings.model_version
    assert [(each["round_id"], each["labels"]) for each in made["movement"]] == [(2, 15)]
    assert 0 <= made["movement"][0]["kept"] <= 1


def test_every_finding_is_there_and_can_be_kept_as_json(loop: Loop) -> None:
    made = appraise_project(bench(loop), loop.now())
    assert last_appraisal(loop.folder / "project") == json.loads(json.dumps(made))
    assert set(made) == {
        *("made_at", "round_id", "model_version", "model", "classes", "counts", "accuracy"),
        *("curve", "labels_saved", "calibration", "confusion", "per_class", "suspects"),
        *("disagreements", "second_opinions", "advice", "map", "movement", "queue_preview"),
        "unreadable",
    }
    assert made["accuracy"]["n"] == made["counts"]["held_out"]
    audit = set(loop.trainer.last_results(1).audit_ids_A.tolist())
    unsure = {point["task"]: point["uncertainty"] for point in made["map"]["points"]}
    assert len(unsure) == 60
    assert all(unsure[task_id] is None for task_id in audit)


def test_the_preview_is_what_annotators_get_with_its_nearest_label(loop: Loop) -> None:
    put_another_first(loop)
    shown = appraise_project(bench(loop), loop.now(), said_nothing)["queue_preview"]
    assert [each["task"] for each in shown] == loop.server.served_order(PREVIEWED)
    assert [each["place"] for each in shown] == list(range(len(shown)))
    assert shown[0]["reason"] == "Put at the front: it looks odd"
    for each in shown:
        assert each["audit"] == (each["prelabel"] is None) == (each["confidence"] is None)
        assert each["nearest"]["label"] == truth(each["nearest"]["task"])
        assert each["nearest"]["label"] == truth(each["task"])
        assert each["reason"]


def test_unreadable_images_are_listed_with_their_reason(loop: Loop) -> None:
    (broken,) = loop.server.add_tasks(1)
    loop.images.unreadable[broken] = "not a picture"
    loop.ask("sync")
    loop.run()
    made = appraise_project(bench(loop), loop.now(), said_nothing)
    assert made["unreadable"] == [{"task": broken, "why": "not a picture"}]


def test_two_models_are_compared_and_not_one_with_itself(loop: Loop) -> None:
    seen: list[Any] = []

    def judge(evidence: Evidence) -> dict[str, Any]:
        seen.append(evidence.previous_predictions)
        return {}

    appraise_project(bench(loop), loop.now(), judge)
    appraise_project(bench(loop), loop.now(), judge)  # the same model again
    for task_id in loop.server.served_order(5):
        loop.label(task_id)
    put_another_first(loop)  # so that there is a new order in any case
    appraise_project(bench(loop), loop.now(), judge)
    appraise_project(bench(loop), loop.now(), judge)
    assert seen[:2] == [None, None]
    assert len(seen[2]) == 45
    assert seen[3] == seen[2]
    assert set(seen[2].values()) <= {0, 1, 2}


def test_a_project_without_a_label_can_be_appraised(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(9)
    loop.ask("connect")
    loop.run()
    made = appraise_project(bench(loop), loop.now(), said_nothing)
    assert made["counts"]["labeled"] == 0
    assert all(each["nearest"] is None for each in made["queue_preview"])


def test_a_sample_stays_the_same_while_its_tasks_are_there() -> None:
    hashes = {task_id: f"{'0' * 16}{task_id * 7919 % 100:016x}" for task_id in range(50)}
    drawn = sample(range(50), hashes, 10)
    fewer = sample([each for each in range(50) if each != drawn[0]], hashes, 10)
    assert len(drawn) == len(fewer) == 10
    assert set(drawn[1:]) < set(fewer)
