"""Every format says what the tables say, and nothing of the model looks like a person's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml_backend.errors import ConfigurationError, ExportFailed
from ml_backend.exporting.checking import check
from ml_backend.exporting.records import LeftOut
from ml_backend.exporting.tables import read_table
from tests.unit.exporting.builders import (
    FakeFiles,
    below,
    export,
    image,
    image_bytes,
    label_set,
    pets,
)

HOSTILE = (
    "../../up",
    "..",
    "CON",
    "=HYPERLINK(1)",
    "a/b",
    "a:b",
    "Cat",
    "cat",
    'quo"te,',
    "new\nline",
    "\u202eevil",
    "labels.csv",
    "<b>&amp;",
    "'",
    "-1",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(pets(), tmp_path / "out")
    return tmp_path / "out"


def test_people_and_model_have_tables_of_their_own(folder: Path) -> None:
    human, model = (read_table(folder / side / "labels.csv") for side in ("human", "model"))
    assert [(r["task_id"], r["label"], r["source"], r["annotators"]) for r in human] == [
        ("1", "cat", "human", "7;9"),
        ("2", "dog", "human", "7;9"),
    ]
    assert [(r["task_id"], r["label"], r["source"], r["confidence"]) for r in model] == [
        ("3", "cat", "model", "0.9"),
        ("4", "dog", "model", "0.899999"),
    ]
    assert [r["above_threshold"] for r in model] == ["true", "false"]
    assert [r["task_id"] for r in read_table(folder / "model" / "below_threshold.csv")] == ["4"]
    assert "confidence" not in human[0]


def test_class_folders_hold_the_models_images_from_the_threshold_on(folder: Path) -> None:
    images = {name: data for name, data in below(folder).items() if name.endswith(".png")}
    assert {n: d for n, d in images.items() if not n.startswith("huggingface")} == {
        "human/cat/1-abc-1.png": image_bytes(1),
        "human/dog/2-abc-2.png": image_bytes(2),
        "model/cat/3-abc-3.png": image_bytes(3),
    }
    files = [row["file"] for row in read_table(folder / "model" / "labels.csv")]
    assert files == ["model/cat/3-abc-3.png", ""]


def test_label_studio_gets_annotations_of_people_and_predictions_of_the_model(
    folder: Path,
) -> None:
    first, _, third, fourth = json.loads((folder / "label_studio.json").read_text())
    region = {
        "from_name": "kind",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["cat"]},
    }
    assert first["data"] == {"picture": "/data/upload/1/abc-1.png"}
    assert (first["annotations"], first["predictions"]) == ([{"result": [region]}], [])
    assert third["annotations"] == []
    assert third["predictions"] == [{"result": [region], "score": 0.9, "model_version": "al-3"}]
    assert fourth["predictions"][0]["score"] == 0.899999


def test_coco_has_a_file_for_each_side_with_the_same_categories(folder: Path) -> None:
    human, model = (json.loads((folder / f"coco_{s}.json").read_text()) for s in ("human", "model"))
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert human["categories"] == model["categories"] == categories
    assert [(a["image_id"], a["category_id"]) for a in human["annotations"]] == [(1, 1), (2, 2)]
    [annotation] = model["annotations"]
    assert (annotation["image_id"], annotation["score"]) == (3, 0.9)
    assert "bbox" not in annotation
    assert model["images"][0]["file_name"] == "model/cat/3-abc-3.png"
    assert (folder / model["images"][0]["file_name"]).is_file()


def test_huggingface_has_images_beside_their_metadata(folder: Path) -> None:
    lines = (folder / "huggingface" / "model" / "metadata.jsonl").read_text().splitlines()
    [row] = map(json.loads, lines)
    assert (row["file_name"], row["label"], row["source"]) == ("3-abc-3.png", "cat", "model")
    assert row["confidence"] == 0.9
    assert (folder / "huggingface" / "human" / "2-abc-2.png").read_bytes() == image_bytes(2)


def test_what_was_left_out_says_why(folder: Path) -> None:
    [row] = read_table(folder / "left_out.csv")
    assert (row["task_id"], row["reason"]) == ("5", "its image cannot be read: cut off")


def test_the_manifest_names_every_file_but_itself(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"].keys() == below(folder).keys() - {"manifest.json"}
    assert manifest["counts"] == {
        "human": 2,
        "model_above": 1,
        "model_below": 1,
        "left_out": 1,
        "images": 3,
        "images_missing": 0,
    }
    assert check(folder) == manifest["counts"]


def test_hostile_class_names_come_back_from_every_format_and_stay_inside(tmp_path: Path) -> None:
    human = [image(n, name) for n, name in enumerate(HOSTILE, start=1)]
    model = [image(100 + n, name, 0.95) for n, name in enumerate(HOSTILE)]
    target = tmp_path / "deep" / "out"
    export(label_set(human, model, classes=HOSTILE), target)
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    assert [row["label"] for row in read_table(target / "human" / "labels.csv")] == list(HOSTILE)
    folders = {row["label"]: row["folder"] for row in read_table(target / "classes.csv")}
    assert {path.name for path in (target / "human").iterdir() if path.is_dir()} == set(
        folders.values()
    )
    assert folders["Cat"].casefold() != folders["cat"].casefold()
    coco = json.loads((target / "coco_human.json").read_text())
    assert [category["name"] for category in coco["categories"]] == list(HOSTILE)


def test_hostile_addresses_stay_inside(tmp_path: Path) -> None:
    uris = ["/data/local-files/?d=../../../etc/passwd", "s3://b/..", "http://x/a%2f..%2fb.png", ""]
    human = [image(n, "cat", image_uri=uri) for n, uri in enumerate(uris, start=1)]
    export(label_set(human), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "human" / "cat").iterdir())
    assert names == ["1-passwd.png", "2-image.png", "3-b.png", "4-image.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_without_the_model_nothing_of_it_is_written(tmp_path: Path) -> None:
    labels = label_set([image(1, "cat")], left_out=[LeftOut(2, "", "nobody has labeled it")])
    export(labels, tmp_path / "out", human_only=True)
    names = below(tmp_path / "out")
    assert not [name for name in names if name.startswith(("model/", "huggingface/model"))]
    assert "coco_model.json" not in names
    assert "model/" not in names["README.txt"].decode()


def test_the_tables_alone_need_no_image(tmp_path: Path) -> None:
    files = FakeFiles()
    counts = export(pets(), tmp_path / "out", files, formats=())
    assert files.reads == []
    assert counts["images"] == 0
    assert {name for name in below(tmp_path / "out") if "/" in name} == {
        "human/labels.csv",
        "model/labels.csv",
        "model/below_threshold.csv",
    }


def test_an_unknown_format_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'yolo'; there is csv, folders"):
        export(pets(), tmp_path / "out", formats=("yolo",))
    assert not list(tmp_path.iterdir())


def test_an_export_of_nothing_is_one_too(tmp_path: Path) -> None:
    export(label_set(), tmp_path / "out")
    assert check(tmp_path / "out")["human"] == 0


def change_json(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def relist(folder: Path, name: str) -> None:
    """Make the manifest agree with a file again, so that only its content can give it away."""
    from ml_backend.exporting.stage import identity

    path = folder / "manifest.json"
    change_json(path, lambda manifest: manifest["files"].update({name: identity(folder / name)}))


def swap_the_first_category(found: Any) -> None:
    found["annotations"][0]["category_id"] = 2


def swap_the_first_choice(found: Any) -> None:
    found[0]["annotations"][0]["result"][0]["value"]["choices"] = ["dog"]


def swap_the_first_score(found: Any) -> None:
    found[2]["predictions"][0]["score"] = 0.5


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("coco_human.json", swap_the_first_category, "coco_human"),
        ("label_studio.json", swap_the_first_choice, "annotations"),
        ("label_studio.json", swap_the_first_score, "predictions"),
        ("label_studio.json", list.clear, "annotations"),
    ],
)
def test_the_check_finds_a_format_that_says_something_else(
    folder: Path, name: str, change: Any, words: str
) -> None:
    change_json(folder / name, change)
    with pytest.raises(ExportFailed, match="not what its manifest says"):
        check(folder)
    relist(folder, name)
    with pytest.raises(ExportFailed, match=words):
        check(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("human/labels.csv", "1,cat", "1,dog", "do not agree"),
        ("human/labels.csv", "1,cat,human", "1,cat,model", "source"),
        ("model/labels.csv", "0.9,true", "0.9,false", "above_threshold"),
        ("model/labels.csv", "3,cat", "1,cat", "more than one kind"),
        ("huggingface/human/metadata.jsonl", '"label": "cat"', '"label": "dog"', "huggingface"),
        ("classes.csv", "cat,cat", "cat,dog", "folders|cannot be read"),
        ("left_out.csv", "5,", "x,", "cannot be read"),
    ],
)
def test_the_check_finds_a_table_that_says_something_else(
    folder: Path, name: str, old: str, new: str, words: str
) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    relist(folder, name)
    with pytest.raises(ExportFailed, match=words):
        check(folder)


def test_the_check_finds_an_image_in_another_folder(folder: Path) -> None:
    old, new = "human/cat/1-abc-1.png", "human/dog/1-abc-1.png"
    (folder / old).rename(folder / new)
    change_json(folder / "manifest.json", lambda m: m["files"].update({new: m["files"].pop(old)}))
    with pytest.raises(ExportFailed):
        check(folder)


def test_the_check_finds_that_a_file_is_gone(folder: Path) -> None:
    (folder / "human" / "cat" / "1-abc-1.png").unlink()
    with pytest.raises(ExportFailed, match="cannot be read back"):
        check(folder)
