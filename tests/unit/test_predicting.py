"""/predict answers from the last round, and never disturbs the order in force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import ImageUnreadable
from ml_backend.predicting import LAST_PLACE_SCORE, Predictor
from tests.loop import ColourBackbone, Loop, picture, truth


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """A project whose model has seen six labels of all classes."""
    made = Loop(tmp_path)
    made.server.add_tasks(30)
    made.ask()
    made.run()
    for task_id in made.server.served_order(6):
        made.label(task_id)
    made.run()
    return made


def embed(task_id: int, uri: str) -> np.ndarray:
    from io import BytesIO

    from PIL import Image

    backbone = ColourBackbone()
    return backbone.embed([backbone.preprocess(Image.open(BytesIO(picture(task_id))))])[0]


def predictor(loop: Loop, **changes: object) -> Predictor:
    project = loop.store.get_project(loop.project_id)
    results = loop.trainer.memory[loop.project_id].results
    given = {"embed_image": embed, "prelabel": True, **changes}
    return Predictor(project, results, **given)


def task(task_id: int) -> dict[str, object]:
    return {"id": task_id, "data": {"image": f"http://images.invalid/{task_id}.png"}}


def test_a_ranked_task_gets_its_class_its_confidence_and_its_place(loop: Loop) -> None:
    published = {
        each.task_id: each
        for each in loop.server.predictions
        if each.version == loop.server.settings.model_version
    }
    task_id = loop.server.served_order(3)[2]
    (answer,) = predictor(loop).predict([task(task_id)])
    assert answer["model_version"] == loop.server.settings.model_version
    assert answer["score"] == published[task_id].score
    (region,) = answer["result"]
    assert region["value"] == {"choices": [truth(task_id)]}
    assert region["score"] == pytest.approx(published[task_id].confidence)


def test_an_unseen_task_is_embedded_on_the_spot_and_stands_last(loop: Loop) -> None:
    (answer,) = predictor(loop).predict([task(1001)])
    assert answer["result"][0]["value"] == {"choices": [truth(1001)]}
    assert answer["score"] == LAST_PLACE_SCORE


def test_answers_come_in_the_order_of_the_tasks(loop: Loop) -> None:
    asked = [1002, loop.server.served_order(1)[0], 1001]
    answers = predictor(loop).predict([task(task_id) for task_id in asked])
    chosen = [answer["result"][0]["value"]["choices"][0] for answer in answers]
    assert chosen == [truth(task_id) for task_id in asked]


def test_an_unseen_image_that_cannot_be_read_gets_no_prelabel(loop: Loop) -> None:
    def refuse(_task_id: int, _uri: str) -> np.ndarray:
        raise ImageUnreadable("the file is cut off")

    (answer,) = predictor(loop, embed_image=refuse).predict([task(1001)])
    assert answer["result"] == []


def test_past_its_time_it_answers_without_looking_at_more_images(loop: Loop) -> None:
    def never(_task_id: int, _uri: str) -> np.ndarray:
        raise AssertionError("an image was fetched past the budget")

    (answer,) = predictor(loop, embed_image=never, budget_s=-1.0).predict([task(1001)])
    assert (answer["result"], answer["score"]) == ([], LAST_PLACE_SCORE)


def test_prelabels_that_are_switched_off_stay_off(loop: Loop) -> None:
    (answer,) = predictor(loop, prelabel=False).predict([task(loop.server.served_order(1)[0])])
    assert answer["result"] == []


def test_before_the_first_round_there_is_an_answer_without_content(loop: Loop) -> None:
    project = loop.store.get_project(loop.project_id)
    answers = Predictor(project, None, embed, prelabel=True).predict([task(1), task(2)])
    assert [answer["result"] for answer in answers] == [[], []]
