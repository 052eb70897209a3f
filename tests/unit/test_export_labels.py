"""An export says what people said, what the model says of the rest, and what that is worth."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_backend.export_labels import Model, gather, learning_curve
from ml_backend.exporting.checking import check
from ml_backend.exporting.export import Wish, write_export
from ml_backend.exporting.pictures import ImageFiles
from ml_backend.exporting.readme import trust_in_words
from ml_backend.exporting.records import FORMATS, LabeledImage, LabelSet
from ml_backend.learning.checkpoints import latest, load_results
from ml_backend.learning.head import Head
from ml_backend.steps.holdout import Holdout
from tests.loop import FakeImages, Loop, truth

SHARE = 0.25
THRESHOLD = 0.6


class MurkyImages(FakeImages):
    """Pictures whose colour tells the class most of the time: the model has doubts."""

    def read(self, task_id: int, uri: str) -> bytes:
        super().read(task_id, uri)
        return murky_picture(task_id)


def murky_picture(task_id: int) -> bytes:
    colour = np.random.default_rng(task_id).integers(0, 170, 3).tolist()
    colour[task_id % 3] += 80
    buffer = BytesIO()
    Image.new("RGB", (4, 4), tuple(colour)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Eighty tasks of three colours, a quarter of them drawn for the holdout, 36 labeled."""
    made = Loop(tmp_path, images=MurkyImages())
    made.store.update_project(made.project_id, audit_share=SHARE)
    tasks = made.server.add_tasks(80)
    made.ask("connect")
    made.run()
    for task_id in tasks[:36]:
        made.label(task_id, webhook=False)
    made.ask()
    made.run()
    return made


def model_of(loop: Loop) -> Model:
    saved = latest(loop.folder / "rounds")
    assert saved is not None
    return Model(load_results(saved), loop.cache.has, loop.cache.rows)


def labels_of(loop: Loop, model: Model | None = None, *, human_only: bool = False) -> LabelSet:
    project = loop.store.get_project(loop.project_id)
    assert project is not None
    return gather(
        loop.store,
        project,
        model or model_of(loop),
        threshold=THRESHOLD,
        human_only=human_only,
        now=loop.now(),
        code_version="test",
    )


def by_task(images: tuple[LabeledImage, ...]) -> dict[int, LabeledImage]:
    return {image.task_id: image for image in images}


def left_out(labels: LabelSet) -> dict[int, str]:
    return {each.task_id: each.reason for each in labels.left_out}


def head_of(model: Model) -> Head:
    assert model.results.head is not None
    return model.results.head


def add_unreadable(loop: Loop) -> int:
    [task_id] = loop.server.add_tasks(1)
    loop.images.unreadable[task_id] = "the file is cut off"
    return task_id


def test_every_task_is_in_one_place(loop: Loop) -> None:
    broken = add_unreadable(loop)
    loop.server.annotate(80, None, skip=True)
    loop.ask()
    loop.run()
    labels = labels_of(loop)
    places = [
        [image.task_id for image in labels.human],
        [image.task_id for image in labels.model],
        [each.task_id for each in labels.left_out],
    ]
    assert sorted(task_id for place in places for task_id in place) == [*range(1, 81), broken]
    assert places == [list(range(1, 37)), list(range(37, 80)), [80, broken]]


def test_people_are_quoted_and_the_model_answers_for_all_others(loop: Loop) -> None:
    loop.label(37, "bird" if truth(37) != "bird" else "cat")  # whatever the model thinks
    loop.run()
    labels = labels_of(loop)
    human, model = by_task(labels.human), by_task(labels.model)
    assert {task_id: image.label for task_id, image in human.items() if task_id < 37} == {
        task_id: truth(task_id) for task_id in range(1, 37)
    }
    assert human[37].label != truth(37)
    assert {image.source for image in human.values()} == {"human"}
    assert {image.confidence for image in human.values()} == {None}
    assert {image.source for image in model.values()} == {"model"}
    right = [image.label == truth(task_id) for task_id, image in model.items()]
    assert np.mean(right) > 0.6


def test_confidence_is_the_heads_calibrated_probability(loop: Loop) -> None:
    model = model_of(loop)
    labels = by_task(labels_of(loop, model).model)
    results = model.results
    assert results.probs_NC is not None
    assert head_of(model).temperature != 1.0
    assert len(labels) == len(results.task_ids_N)
    for task_id, probs_C in zip(results.task_ids_N.tolist(), results.probs_NC, strict=True):
        assert labels[task_id].confidence == pytest.approx(probs_C.max(), abs=1e-6)
        assert labels[task_id].label == results.classes[int(probs_C.argmax())]


def test_the_models_labels_hold_the_audit_too_and_say_so(loop: Loop) -> None:
    model = model_of(loop)
    audit = model.results.audit_ids_A.tolist()
    labels = by_task(labels_of(loop, model).model)
    assert len(audit) >= 5
    assert {task_id for task_id, image in labels.items() if image.split == "holdout"} == set(audit)


def test_a_label_is_on_the_side_that_it_was_drawn_for(loop: Loop) -> None:
    labels = labels_of(loop)
    results = model_of(loop).results
    split = {image.task_id: image.split for image in labels.human}
    assert {t for t, side in split.items() if side == "holdout"} == set(
        results.holdout_ids_H.tolist()
    )
    assert {t for t, side in split.items() if side == "train"} == set(
        results.labeled_ids_M.tolist()
    )


def test_a_label_that_came_after_the_last_round_is_a_persons_already(loop: Loop) -> None:
    model = model_of(loop)
    loop.label(40)
    loop.run()
    labels = labels_of(loop, model)
    assert 40 in by_task(labels.human)
    assert 40 not in by_task(labels.model)


def test_what_people_did_not_settle_the_model_does_not_either(loop: Loop) -> None:
    loop.server.overlap = 2
    for choice in ("cat", "hound"):
        loop.server.annotate(40, choice)
    loop.server.annotate(41, None, skip=True)
    loop.server.annotate(42, "unicorn")
    loop.server.annotate(43, None)
    loop.ask()
    loop.run()
    reasons = left_out(labels_of(loop))
    assert reasons == {
        40: "people disagree: cat (1), hound (1)",
        41: "everybody who looked at it skipped it",
        42: "labeled with what the labeling config no longer has: unicorn (1)",
        43: "annotated, with no class chosen",
    }


def test_an_image_that_cannot_be_read_or_is_not_embedded_is_left_out(loop: Loop) -> None:
    broken = add_unreadable(loop)
    loop.ask()
    loop.run()
    model = model_of(loop)
    unknown = str(loop.store.mirror(loop.project_id).content_hashes[49])
    labels = labels_of(loop, replace(model, has_vector=lambda name: name != unknown))
    assert left_out(labels) == {
        50: "its image is not embedded yet by the network in force",
        broken: "its image cannot be read: the file is cut off",
    }


def test_a_persons_label_of_an_unreadable_image_is_kept(loop: Loop) -> None:
    task_id = add_unreadable(loop)
    loop.label(task_id, "cat")
    loop.ask()
    loop.run()
    image = by_task(labels_of(loop).human)[task_id]
    assert (image.label, image.split, image.content_hash) == ("cat", None, None)


def test_annotators_are_named_once_each_and_skips_name_nobody(loop: Loop) -> None:
    loop.server.overlap = 3
    loop.server.annotate(1, truth(1), annotator_id=5)
    loop.server.annotate(1, None, annotator_id=6, skip=True)
    loop.ask()
    loop.run()
    [first] = loop.store.mirror(loop.project_id).annotations[:1]
    assert by_task(labels_of(loop).human)[1].annotators == (first.annotator_id, 5)


def test_trust_is_measured_on_the_holdout_alone(loop: Loop) -> None:
    model = model_of(loop)
    results, trust = model.results, labels_of(loop, model).trust
    mirror = loop.store.mirror(loop.project_id)
    hashes = [str(mirror.content_hashes[task_id - 1]) for task_id in results.holdout_ids_H]
    probs_HC = head_of(model).probs(loop.cache.rows(hashes))
    right_H = probs_HC.argmax(axis=1) == results.holdout_labels_H
    above_H = probs_HC.max(axis=1).round(6) >= THRESHOLD
    assert 0 < above_H.sum() < len(above_H)
    assert trust["n"] == len(results.holdout_ids_H)
    assert trust["accuracy"]["value"] == pytest.approx(right_H.mean())
    above, below = trust["above_threshold"], trust["below_threshold"]
    assert (above["n"], above["right"]) == (above_H.sum(), right_H[above_H].sum())
    assert below["n"] == (~above_H).sum()
    assert above["accuracy"]["low"] <= above["right"] / above["n"] <= above["accuracy"]["high"]
    assert 0 <= trust["calibration_error"]["value"] <= 1


def test_what_the_model_was_trained_on_is_no_measure_of_it(loop: Loop) -> None:
    model = model_of(loop)
    ids_H = model.results.holdout_ids_H
    ids_M = np.concatenate([model.results.labeled_ids_M, ids_H[:2]])
    labels_M = np.concatenate([model.results.labels_M, model.results.holdout_labels_H[:2]])
    cheated = replace(model.results, labeled_ids_M=ids_M, labels_M=labels_M)
    trust = labels_of(loop, replace(model, results=cheated)).trust
    assert trust["n"] == len(ids_H) - 2


def test_trust_says_so_in_words_and_says_when_nothing_is_known(loop: Loop) -> None:
    said = trust_in_words(labels_of(loop).trust, THRESHOLD)
    assert "holdout labels" in said
    assert "95 % interval" in said
    assert "calibration error" in said
    loop.store.update_project(loop.project_id, audit_share=0.0)
    trust = labels_of(loop).trust
    assert trust["n"] == 0
    assert "There is no holdout label" in trust_in_words(trust, THRESHOLD)


def test_a_head_with_too_few_labels_says_that_it_is_not_calibrated(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.store.update_project(loop.project_id, audit_share=SHARE)
    loop.server.add_tasks(40)
    loop.ask("connect")
    loop.run()
    holdout = Holdout(SHARE, loop.project_id)
    mirror = loop.store.mirror(loop.project_id)
    drawn = [holdout.has(str(name)) for name in mirror.content_hashes]
    audit, rest = ([t for t, d in enumerate(drawn, 1) if d is side] for side in (True, False))
    for task_id in (audit[0], *rest[:3]):
        loop.label(task_id)
    loop.run()
    trust = labels_of(loop).trust
    assert (trust["n"], trust["calibrated_on"]) == (1, 0)
    assert "not calibrated yet" in trust_in_words(trust, THRESHOLD)


@pytest.mark.parametrize("has_results", [False, True])
def test_before_there_is_a_model_all_is_left_out(tmp_path: Path, has_results: bool) -> None:
    loop = Loop(tmp_path)
    loop.server.add_tasks(3)
    loop.ask("connect")
    loop.run()
    project = loop.store.get_project(loop.project_id)
    assert project is not None
    labels = gather(
        loop.store,
        project,
        model_of(loop) if has_results else None,
        threshold=THRESHOLD,
        human_only=False,
        now=loop.now(),
        code_version="test",
    )
    assert labels.model == ()
    assert all(reason.startswith("there is no model") for reason in left_out(labels).values())
    assert labels.model_card["model"] is None


def test_a_model_of_other_classes_does_not_answer(loop: Loop) -> None:
    model = model_of(loop)
    loop.server.label_config = loop.server.label_config.replace(
        '<Choice value="bird"/>', '<Choice value="bird"/><Choice value="newt"/>'
    )
    loop.hear("PROJECT_UPDATED")
    loop.run()
    labels = labels_of(loop, model)
    assert labels.model == ()
    assert "other classes" in next(iter(left_out(labels).values()))


def test_without_the_model_the_rest_is_left_out(loop: Loop) -> None:
    labels = labels_of(loop, human_only=True)
    assert (len(labels.human), labels.model) == (36, ())
    assert set(left_out(labels).values()) == {"nobody has labeled it"}


def test_the_learning_curve_is_what_rounds_reported_oldest_first(loop: Loop) -> None:
    for task_id in (50, 51):
        loop.label(task_id)
        loop.run()
    rows = labels_of(loop).learning_curve
    assert [row["labeled"] for row in rows][-2:] == [37, 38]
    last = loop.last_round()
    assert rows[-1]["round"] == last.round_id
    assert rows[-1]["holdout_accuracy"] == last.report["holdout_accuracy"]
    assert [rows[-1]["low"], rows[-1]["high"]] == last.report["holdout_interval"]
    unmeasured = replace(last, report={"labeled": 3})
    assert learning_curve([unmeasured]) == ()


def test_the_card_says_which_model_gave_the_labels(loop: Loop) -> None:
    model = model_of(loop)
    card = labels_of(loop, model).model_card
    assert card["model"] == "pretrained"
    assert card["model_version"] == model.results.model_version
    assert card["label_counts"].keys() == {"cat", "hound", "bird"}
    assert sum(card["label_counts"].values()) == card["trained_on"] == head_of(model).n_labels


def test_a_whole_loop_is_written_and_read_back_in_every_format(loop: Loop) -> None:
    labels = labels_of(loop)
    target = loop.folder / "out"
    files = ImageFiles(loop.images.read, lambda _uri: None)
    counts = write_export(labels, target, Wish(formats=FORMATS), files, lambda *_: None)
    assert check(target) == counts
    assert counts["human"] == 36
    assert counts["model_above"] + counts["model_below"] == 44
    assert min(counts["model_above"], counts["model_below"]) > 0
    name = f"human/{truth(1)}/1-1.png"
    assert (target / name).read_bytes() == murky_picture(1)
    assert "On " in (target / "README.txt").read_text()
