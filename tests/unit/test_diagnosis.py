"""What doctor looks at."""

from __future__ import annotations

from pathlib import Path

from ml_backend.diagnosis import _expected
from tests.loop import Loop


def test_images_are_sampled_among_the_readable_ones_and_where_there_are_none_among_all(
    tmp_path: Path,
) -> None:
    loop = Loop(tmp_path)
    tasks = loop.server.add_tasks(2)
    loop.ask()
    loop.run()
    project = loop.store.get_project(loop.project_id)

    def sampled_without(*unreadable: int) -> list[int]:
        reasons = dict.fromkeys(unreadable, "its server was down")
        loop.store.set_unreadable(loop.project_id, reasons, loop.now())
        return [task.task_id for task in _expected(loop.store, project).sample]

    assert sampled_without(tasks[0]) == [tasks[1]]
    assert sampled_without(*tasks) == tasks
