"""How predictions are written follows what writing turns out to cost."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ml_backend.labelstudio.client import Reply
from ml_backend.labelstudio.prediction_writer import PredictionWriter


class FakeServer:
    """Takes what it is sent, and the time that it is told to take."""

    def __init__(self, tasks: int, predictions: int, single_s: float, import_s: float) -> None:
        self.counts = {
            "task_number": tasks,
            "num_tasks_with_annotations": 0,
            "total_predictions_number": predictions,
        }
        self.single_s, self.import_s = single_s, import_s
        self.time_s = 0.0
        self.calls: list[str] = []

    def clock(self) -> float:
        return self.time_s

    def read(self, what: str, ask: object) -> dict[str, Any]:
        return {"results": [self.counts]}

    def call(self, what: str, ask: Callable[..., Any], accept: object = ()) -> Reply:
        sent = ask(Echo(), {})
        if "importing" in what:
            if sent[0].task == 0:  # the probe for an efficient import, which this is not
                return Reply(400, {"detail": "no"})
            self.calls.append(f"import of {len(sent)}")
            self.time_s += self.import_s
            return Reply(201, {"created": len(sent)})
        self.calls.append("single")
        self.time_s += self.single_s
        return Reply(201, sent)


class Echo:
    """An SDK whose calls return what they are given."""

    def __init__(self) -> None:
        create = SimpleNamespace(create=lambda request_options, **row: row)
        self.predictions = SimpleNamespace(with_raw_response=create)
        importing = SimpleNamespace(
            import_predictions=lambda _project, request, request_options: request
        )
        self.projects = SimpleNamespace(with_raw_response=importing)


def rows(n: int, first: int = 1) -> list[dict[str, Any]]:
    return [
        {"task": first + i, "result": [], "score": i / n, "model_version": "v"} for i in range(n)
    ]


def test_a_few_rows_of_a_large_project_go_one_by_one() -> None:
    server = FakeServer(tasks=10_000, predictions=400, single_s=0.025, import_s=0.9)
    PredictionWriter(server, 1, server.clock).write(rows(16))
    assert server.calls == ["single"] * 16


def test_many_rows_of_a_small_project_go_at_once() -> None:
    server = FakeServer(tasks=300, predictions=0, single_s=0.025, import_s=0.07)
    PredictionWriter(server, 1, server.clock).write(rows(16))
    assert server.calls == ["import of 16"]


def test_where_single_writes_turn_out_slow_the_next_rows_go_at_once() -> None:
    server = FakeServer(tasks=1000, predictions=1000, single_s=0.2, import_s=1.1)
    writer = PredictionWriter(server, 1, server.clock)
    writer.write(rows(16))
    assert server.calls == ["single"] * 16
    writer.write(rows(16, first=17))
    assert server.calls[16:] == ["import of 16"]


def test_where_an_import_turns_out_slow_the_next_rows_go_one_by_one() -> None:
    server = FakeServer(tasks=1000, predictions=0, single_s=0.025, import_s=5.0)
    writer = PredictionWriter(server, 1, server.clock)
    writer.write(rows(16))
    writer.write(rows(16, first=17))
    assert server.calls == ["import of 16"] + ["single"] * 16
