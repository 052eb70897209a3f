"""An appraisal as the trainer writes it, of a project of two classes or as many as one likes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

MADE_AT = "2026-01-02T03:00:00+00:00"


def estimate(value: float, n: int = 60) -> dict[str, Any]:
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.01) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def nothing_known(classes: Sequence[str] = ("cat", "dog")) -> dict[str, Any]:
    """An appraisal before anything can be measured: every key is there."""
    return {
        "made_at": MADE_AT,
        "round_id": 1,
        "model_version": "v1",
        "model": None,
        "classes": list(classes),
        "counts": {
            "tasks": 100,
            "labeled": 2,
            "trained_on": 2,
            "held_out": 0,
            "audit": 10,
            "pool": 98,
            "skipped": 0,
            "unreadable": 0,
        },
        "accuracy": None,
        "curve": {"queue": [], "random": [], "note": ""},
        "labels_saved": {
            "state": "cannot tell yet",
            "value": None,
            "low": None,
            "high": None,
            "queue_labels": None,
            "random_labels": None,
            "accuracy": None,
            "sentence": "There are no audit labels yet.",
            "more_audit_labels": 30,
        },
        "calibration": None,
        "confusion": None,
        "per_class": [
            {"class": name, "labels": 1, "pool_predicted": None, "precision": None, "recall": None}
            for name in classes
        ],
        "suspects": [],
        "disagreements": [],
        "second_opinions": [],
        "advice": {
            "verdict": "cannot tell yet",
            "sentence": "Too few audit labels.",
            "gain_next_100": None,
            "agreement": None,
            "lacking": [],
        },
        "map": {"method": "PCA", "of": 0, "points": []},
        "movement": [],
        "queue_preview": [],
        "unreadable": [],
    }


def appraisal(
    classes: Sequence[str] = ("cat", "dog"), tasks: int = 100, words: str = "", seed: int = 0
) -> dict[str, Any]:
    """An appraisal with something in every place; `words` stands in every free text."""
    chance, size = random.Random(seed), len(classes)
    sizes = [8, 12, 18, 27, 40, 60, 90]
    ids = range(1, tasks + 1)
    known = nothing_known(classes)
    known["counts"] |= {"tasks": tasks, "labeled": 75, "trained_on": 60, "held_out": 15}
    return known | {
        "accuracy": estimate(0.9),
        "model": f"0002-fine-tuned{words}",
        "curve": {
            "queue": [_point(n, 1 - 1 / (1 + n / 8)) for n in sizes],
            "random": [_point(n, 1 - 1 / (1 + n / 14)) for n in sizes[:-1]],
            "note": words,
        },
        "labels_saved": {
            "state": "measured",
            "value": 26,
            "low": 9,
            "high": 38,
            "queue_labels": 34,
            "random_labels": 60,
            "accuracy": 0.81,
            "sentence": "With its first 34 labels the queue taught the model as much as 60 random "
            f"ones would. {words}",
            "more_audit_labels": None,
        },
        "calibration": {
            "before": 0.12,
            "after": 0.04,
            "bins": [{"confidence": c / 10, "accuracy": c / 11, "n": 5 + c} for c in range(3, 11)],
        },
        "confusion": [
            [14 if row == column else chance.randint(0, 2) for column in range(size)]
            for row in range(size)
        ],
        "per_class": [
            {
                "class": name,
                "labels": 5 + 3 * row,
                "pool_predicted": 40 + 7 * row,
                "precision": estimate(0.85, 20),
                "recall": estimate(0.8, 20),
            }
            for row, name in enumerate(classes)
        ],
        "suspects": [
            {
                "task": task,
                "label": classes[task % size],
                "suggested": classes[(task + 1) % size],
                "probability": 0.97,
                "self_confidence": 0.01,
                "score": 0.96,
                "sentence": f"A model that has not seen this label is 97 % sure. {words}",
            }
            for task in ids[:6]
        ],
        "disagreements": [
            {
                "task": 7,
                "answers": [
                    {"annotator": 1, "label": classes[0]},
                    {"annotator": None, "label": classes[1]},
                ],
                "agreement": 0.5,
                "sentence": f"Two annotators, two answers. {words}",
            }
        ],
        "second_opinions": [
            {
                "task": 8,
                "label": classes[0],
                "score": 0.2,
                "sentence": f"One doubtful label. {words}",
            }
        ],
        "advice": {
            "verdict": "go on",
            "sentence": f"The next 100 labels should bring 2.1 points. {words}",
            "gain_next_100": estimate(0.021),
            "agreement": estimate(0.95),
            "lacking": [{"class": classes[0], "labels": 5, "sentence": f"Fewer than 10. {words}"}],
        },
        "map": {
            "method": "PCA",
            "of": tasks,
            "points": [_dot(task, classes, chance) for task in ids[:2000]],
        },
        "movement": [
            {"round_id": n, "at": MADE_AT, "labels": 2 * n, "kept": 1 - 1 / (1 + n / 9)}
            for n in range(1, 30)
        ],
        "queue_preview": [
            {
                "task": 10 + place,
                "place": place,
                "audit": place % 10 == 4,
                "reason": "" if place > 12 else f"Unsure between two classes. {words}",
                "prelabel": None if place % 10 == 4 else classes[place % size],
                "confidence": None if place % 10 == 4 else 0.41,
                "nearest": {"task": 3, "label": classes[place % size], "similarity": 0.93},
            }
            for place in range(24)
        ],
        "unreadable": [{"task": 99, "why": f"The file is empty (0 bytes). {words}"}],
    }


def _point(labels: int, value: float) -> dict[str, Any]:
    return {"labels": labels, "value": value, "low": value - 0.07, "high": min(1.0, value + 0.06)}


def _dot(task: int, classes: Sequence[str], chance: random.Random) -> dict[str, Any]:
    row = chance.randrange(len(classes))
    turn, far = 2 * math.pi * row / len(classes), 0.3
    return {
        "task": task,
        "x": min(1.0, max(0.0, 0.5 + far * math.cos(turn) + chance.gauss(0, 0.06))),
        "y": min(1.0, max(0.0, 0.5 + far * math.sin(turn) + chance.gauss(0, 0.06))),
        "label": classes[row] if task % 5 == 0 else None,
        "predicted": classes[row],
        "uncertainty": chance.random() ** 2,
    }
