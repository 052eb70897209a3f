"""Tasks as Label Studio imports them: people's labels as annotations, the model's as predictions.

Who annotated stands in `meta`: Label Studio refuses annotations by users that it does not know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_backend.exporting.records import LabeledImage, LabelSet

FILE = "label_studio.json"
Answers = dict[int, tuple[str, float | None]]  # task → label and confidence


def write(root: Path, labels: LabelSet) -> None:
    """Write both kinds of labels into one file; no task has both."""
    tasks = [_task(labels, image) for image in (*labels.human, *labels.model)]
    tasks.sort(key=lambda task: task["meta"]["exported_task"])
    lines = ",\n".join(json.dumps(task, ensure_ascii=False) for task in tasks)
    (root / FILE).write_text(f"[\n{lines}\n]\n", "utf-8")


def read(root: Path) -> tuple[Answers, Answers]:
    """Read labels, people's and the model's."""
    human: Answers = {}
    model: Answers = {}
    for task in json.loads((root / FILE).read_text("utf-8")):
        task_id = task["meta"]["exported_task"]
        for annotation in task["annotations"]:
            human[task_id] = (_choice(annotation), None)
        for prediction in task["predictions"]:
            model[task_id] = (_choice(prediction), prediction["score"])
    return human, model


def _task(labels: LabelSet, image: LabeledImage) -> dict[str, Any]:
    answer: dict[str, Any] = {"result": [_region(labels, image)]}
    is_human = image.source == "human"
    if not is_human:
        answer |= {"score": image.confidence, "model_version": labels.model_version}
    meta = {"exported_task": image.task_id, "annotators": list(image.annotators)}
    return {
        "data": {labels.control.image_field: image.image_uri},
        "meta": meta | ({"metadata": dict(image.metadata)} if image.metadata else {}),
        "annotations": [answer] if is_human else [],
        "predictions": [] if is_human else [answer],
    }


def _region(labels: LabelSet, image: LabeledImage) -> dict[str, Any]:
    return {
        "from_name": labels.control.from_name,
        "to_name": labels.control.to_name,
        "type": "choices",
        "value": {"choices": [image.label]},
    }


def _choice(answer: dict[str, Any]) -> str:
    [region] = answer["result"]
    [choice] = region["value"]["choices"]
    return str(choice)
