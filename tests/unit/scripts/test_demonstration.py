"""The demo's parts that need no Label Studio."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import click
import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ml_backend.errors import ConfigurationError
from ml_backend.sources import open_source
from scripts import child_processes as processes
from scripts import oracle
from scripts.demonstration import curve, images
from scripts.demonstration.main import demo, demo_run
from scripts.demonstration.show import shift_report
from scripts.digits_images import render_digit
from scripts.run.data import open_data


def folder_of(root: Path, **counts: int) -> Path:
    """One subfolder a class with so many (empty) image files."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03d}.png").touch()
    return root


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_fifth_of_each_class_is_held_back_and_the_same_one_each_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", cat=50, dog=10)
    images.write_table(folder, tmp_path / "table.csv")
    rows = rows_of(tmp_path / "table.csv")
    held = [row["label"] for row in rows if row["split"] == "holdout"]
    assert (held.count("cat"), held.count("dog")) == (10, 2)
    assert len([row for row in rows if row["split"] == "pool"]) == 48
    assert len({row["path"] for row in rows}) == 60
    images.write_table(folder, tmp_path / "again.csv")
    assert rows_of(tmp_path / "again.csv") == rows


def test_the_table_says_what_each_image_shows_and_mixes_the_classes(tmp_path: Path) -> None:
    names = {"cat": 10, 'a "big", dog': 10}
    images.write_table(folder_of(tmp_path / "in", **names), tmp_path / "table.csv")
    rows = rows_of(tmp_path / "table.csv")
    assert {row["label"] for row in rows} == {*names}
    for row in rows:
        assert (tmp_path / "in" / row["path"]).is_file()
        assert row["path"].startswith(row["label"] + "/")
    labels = [row["label"] for row in rows]
    assert labels != sorted(labels), "the classes must not follow one another"


@pytest.mark.parametrize("counts", [{"all": 3}, {}])
def test_a_folder_without_classes_is_refused_with_what_was_expected(
    tmp_path: Path, counts: dict[str, int]
) -> None:
    folder = folder_of(tmp_path / "in", **counts)
    folder.mkdir(exist_ok=True)
    (folder / "loose.png").touch()
    with pytest.raises(ConfigurationError, match="one subfolder a class"):
        images.write_table(folder, tmp_path / "table.csv")


def test_a_second_start_goes_on_with_the_images_and_the_table_of_the_first(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", cat=5, dog=5)
    first = demo_run(tmp_path / "demo", photos)
    table = rows_of(tmp_path / "demo" / "images.csv")
    (photos / "cat" / "new.png").touch()
    assert demo_run(tmp_path / "demo", None) == first
    assert demo_run(tmp_path / "demo", photos) == first
    assert rows_of(tmp_path / "demo" / "images.csv") == table
    assert first.config.data.known_labels == "hide", "the answers must not be in Label Studio"
    data = open_data(first, open_source)
    assert data.test is not None
    assert {item.path for item in data.pool.items()}.isdisjoint(
        item.path for item in data.test.items()
    )


def test_a_folder_with_a_long_name_makes_a_title_that_label_studio_takes(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / ("p" * 60), cat=5, dog=5)
    assert len(demo_run(tmp_path / "demo", photos).config.project.title) == 50


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("there", "said"),
    [("demo.json", "an earlier version.*--fresh"), ("run.json", "holds a run, and no demo")],
)
def test_what_an_earlier_version_or_a_run_left_is_refused_and_not_touched(
    tmp_path: Path, there: str, said: str
) -> None:
    (tmp_path / there).write_text('{"images": "/elsewhere"}')
    before = everything_in(tmp_path)
    with pytest.raises(click.ClickException, match=said):
        demo_run(tmp_path, None)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("there", ["holiday.jpg", "run.json"])
def test_fresh_never_deletes_a_folder_that_is_none_of_ours(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("{}")
    answer = CliRunner().invoke(demo, ["--fresh", "--folder", str(tmp_path)], input="y\n")
    assert answer.exit_code == 1
    assert "not deleted" in answer.output
    assert (tmp_path / there).exists()


@pytest.mark.parametrize("there", ["demo.json", "demo.yaml"])
def test_fresh_asks_before_it_deletes_a_demo(tmp_path: Path, there: str) -> None:
    (tmp_path / there).touch()
    answer = CliRunner().invoke(demo, ["--fresh", "--folder", str(tmp_path)], input="n\n")
    assert answer.exit_code == 1
    assert "Delete" in answer.output
    assert (tmp_path / there).exists()


def test_a_command_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    with (
        (tmp_path / "lock").open("w") as lock,
        processes.running("backend", ["no-such-command"], tmp_path, {}, lock.fileno()) as child,
        pytest.raises(click.ClickException, match="No such command"),
    ):
        processes.wait_until_it_answers(child, "http://127.0.0.1:1/health")


def test_digits_are_drawn_dark_on_light() -> None:
    empty_HW = np.zeros((8, 8))
    inked_HW = np.full((8, 8), 16.0)
    assert render_digit(empty_HW, 64).size == (64, 64)
    assert np.asarray(render_digit(empty_HW, 64)).min() == 255
    inked = np.asarray(render_digit(inked_HW, 64))
    assert inked[32, 32] == 0
    assert inked[0].min() == 255, "a margin of paper"
    assert isinstance(render_digit(inked_HW, 32), Image.Image)


# --- the oracle


class OneAnnotator:
    """Serves tasks 1 … n in order, as Label Studio does, and keeps what was sent."""

    def __init__(self, tasks: int) -> None:
        self.tasks = tasks
        self.submitted: dict[int, dict] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/dm/actions/":
            assert request.url.params["id"] == "next_task"
            assert json.loads(request.content) == {}, "any more would leave the project's sampling"
            return self._next()
        task_id = int(request.url.path.split("/")[3])
        self.submitted[task_id] = json.loads(request.content)
        return httpx.Response(201, json={"id": task_id})

    def _next(self) -> httpx.Response:
        task_id = len(self.submitted) + 1
        if task_id > self.tasks:
            return httpx.Response(404, json={"detail": "There are no tasks"})
        older = {"id": 1, "model_version": "al-1", "result": []}
        region = {"value": {"choices": ["dog"]}}
        newer = {"id": 9, "model_version": "al-2", "result": [region]}
        data = {"image": f"/data/upload/1/x-image-{task_id:06d}.png"}
        return httpx.Response(
            200, json={"id": task_id, "data": data, "predictions": [newer, older]}
        )


def test_the_oracle_answers_what_it_is_served_until_nothing_is_left() -> None:
    server = OneAnnotator(tasks=3)
    with httpx.Client(transport=httpx.MockTransport(server), base_url="http://ls") as client:
        answers = list(oracle.annotate(client, 5, lambda uri: "cat"))
    assert [answer.task_id for answer in answers] == [1, 2, 3]
    assert {answer.suggested for answer in answers} == {"dog"}
    assert {answer.model_version for answer in answers} == {"al-2"}
    assert server.submitted[2]["result"][0]["value"] == {"choices": ["cat"]}
    assert server.submitted[2]["parent_prediction"] == 9


def test_the_oracle_tells_how_often_the_order_changed_and_what_the_model_knew() -> None:
    served = [("a", "al-1"), (None, "al-1"), ("b", "al-2"), (None, None)]
    answers = [oracle.Answered(n, "a", *each) for n, each in enumerate(served)]
    said = shift_report(answers, 5)
    assert "4 tasks labeled, in 2 successive orders of the queue" in said
    assert "prelabel was right in 1 of 2." in said
    assert "1 came from outside the published window" in said
    assert "no more tasks" in said
    assert "no more tasks" not in shift_report(answers, 4)


# --- the curve


def two_heaps(count: int) -> curve.Measured:
    """Two well separated classes on a line, alternating."""
    labels_N = np.arange(count) % 2
    rng = np.random.default_rng(0)
    embeddings_ND = np.stack([labels_N * 4.0 - 2, rng.normal(0, 0.1, count)], axis=1)
    return curve.Measured(embeddings_ND.astype(np.float32), labels_N.astype(np.int64))


def test_an_order_that_never_shows_a_class_is_told_from_one_that_does() -> None:
    pool, holdout = two_heaps(400), two_heaps(40)
    one_sided = list(range(0, 40, 2))
    comparison = curve.compare(pool, holdout, one_sided, 2)
    assert comparison.budgets[:2] == [10, 20]
    assert comparison.budgets[-1] == 80
    assert comparison.active == [0.5, 0.5]
    assert comparison.random_mean[1] == pytest.approx(1.0)
    assert comparison.random_labels_for_the_same() == 10


def test_both_sides_of_the_curve_get_the_same_number_of_labels() -> None:
    pool = two_heaps(30)
    comparison = curve.compare(pool, two_heaps(10), list(range(25)), 2)
    assert comparison.budgets == [10, 20, 25], "random orders cannot go beyond the pool of 30"
    assert comparison.random_RB.shape == (curve.RANDOM_ORDERS, 3)


def test_the_verdict_admits_where_random_did_as_well() -> None:
    worse = curve.Comparison([10, 20], [0.5, 0.6], np.array([[0.7, 0.8], [0.7, 0.8]]))
    assert worse.random_labels_for_the_same() == 10
    assert "20 labels in this order do what about 10 do" in curve.verdict(worse)
    never = curve.Comparison([10, 20, 30], [0.5, 0.9], np.full((2, 3), 0.7))
    assert "did not get there with 30 labels" in curve.verdict(never)
