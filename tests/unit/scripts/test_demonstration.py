"""The demo's parts that need no Label Studio."""

from __future__ import annotations

import json
import socket
import stat
from pathlib import Path

import click
import httpx
import numpy as np
import pytest
from PIL import Image

from scripts import child_processes as processes
from scripts import oracle
from scripts.demonstration import curve, images, memory
from scripts.digits_images import render_digit


def folder_of(root: Path, **counts: int) -> Path:
    """One subfolder a class with so many (empty) image files."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03d}.png").touch()
    return root


def test_a_fifth_of_each_class_is_held_back_and_the_same_one_each_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, cat=50, dog=10)
    found = images.read_images(folder)
    assert found.classes == ("cat", "dog")
    held = [image.label for image in found.holdout]
    assert (held.count("cat"), held.count("dog")) == (10, 2)
    assert len(found.pool) == 48
    assert not {*found.pool} & {*found.holdout}
    assert images.read_images(folder) == found


def test_a_folder_without_classes_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="one subfolder a class"):
        images.read_images(folder_of(tmp_path, all=3))


def test_names_in_label_studio_tell_nothing_and_lead_back_to_the_image(tmp_path: Path) -> None:
    found = images.read_images(folder_of(tmp_path / "in", cat=10, dog=10))
    copies = images.numbered_copies(found, tmp_path / "out")
    assert sorted(copies) != copies, "the classes must not follow one another"
    for file in copies:
        assert "cat" not in file.name
        assert "dog" not in file.name
        place = images.pool_place(f"/data/upload/3/0a1b2c3d-{file.name}")
        assert file.read_bytes() == found.pool[place].file.read_bytes()
        assert file.name == f"image-{place:06d}.png"
    assert images.numbered_copies(found, tmp_path / "out") == copies


def test_class_names_are_escaped_in_the_labeling_config() -> None:
    assert '<Choice value="a &amp; b"/>' in images.labeling_config(("a & b", "c"))


def test_the_key_of_a_digit_is_that_digit() -> None:
    assert '<Choice value="0" hotkey="0"/>' in images.labeling_config(("0", "1"))


def test_what_is_remembered_comes_back_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    first = memory.recall(tmp_path)
    first.project_id, first.served = 7, [3, 1]
    memory.remember(tmp_path, first)
    assert memory.recall(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600
    assert first.password not in repr(first)


def test_a_port_that_is_taken_gives_way_to_the_next() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < processes.usable_port(port) <= port + 99


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
