"""What can be replayed of a heap of labeled images, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.gathering import Gathered, LabeledImage, gather, require_enough
from ml_backend.learning.embeddings import EmbeddingCache, content_hash
from ml_backend.settings import load_settings
from tests.loop import DIM, ColourBackbone, picture, truth


def image(number: int, label: str | None = None, key: str = "") -> LabeledImage:
    return LabeledImage(
        key or f"{number}.png", truth(number) if label is None else label, lambda: picture(number)
    )


def gathered(folder: Path, images: Sequence[LabeledImage]) -> Gathered:
    settings = load_settings(model_dir=folder, fetch_workers=1)
    caches = {
        name: (ColourBackbone(), EmbeddingCache(folder / name, "colour", DIM))
        for name in ("one", "other")
    }
    return gather(images, caches, settings, lambda *_: None, source="a test")


def many(n: int = 30) -> list[LabeledImage]:
    return [image(number) for number in range(n)]


def test_each_backbone_has_its_own_embeddings_of_the_same_rows(tmp_path: Path) -> None:
    found = gathered(tmp_path, many())
    one = found.sets["one"]
    assert one.classes == ("bird", "cat", "hound")
    assert one.embeddings_ND.shape == (30, DIM)
    assert np.array_equal(one.embeddings_ND, found.sets["other"].embeddings_ND)
    assert [one.classes[label] for label in one.labels_N[:3]] == ["cat", "hound", "bird"]
    assert found.facts["classes"] == {"bird": 10, "cat": 10, "hound": 10}


def test_copies_are_left_out_and_said(tmp_path: Path) -> None:
    found = gathered(tmp_path, [*many(), image(3, key="again.png"), image(4, key="again.png")])
    assert found.facts["images"] == 30
    assert found.facts["copies"] == 2
    assert any("exact copies of others: 2 images." in note for note in found.notes)


def test_copies_under_different_labels_have_no_known_label(tmp_path: Path) -> None:
    found = gathered(tmp_path, [*many(), image(3, label="bird", key="other.png")])
    assert found.facts["images"] == 29
    assert found.facts["contradictory"] == ["3.png", "other.png"]
    assert any("under different labels" in note for note in found.notes)


def test_unreadable_images_are_listed_with_their_reasons(tmp_path: Path) -> None:
    def broken() -> bytes:
        raise ImageUnreadable("The disk is on fire.")

    images = [LabeledImage("a.png", "cat", broken), LabeledImage("b.png", "cat", lambda: b"text")]
    found = gathered(tmp_path, [*images, *many()])
    assert set(found.facts["unreadable"]) == {"a.png", "b.png"}
    assert found.facts["images"] == 30
    [note] = [note for note in found.notes if "cannot be read" in note]
    assert "a.png (The disk is on fire.)" in note


def test_unlabeled_images_are_counted(tmp_path: Path) -> None:
    found = gathered(tmp_path, [*many(), image(40, label="")])
    assert found.facts["unlabeled"] == 1
    with pytest.raises(ConfigurationError, match="none of 1 image has a label"):
        gathered(tmp_path, [image(40, label="")])


def test_one_class_and_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="all 30 images that can be used are cat"):
        gathered(tmp_path, [image(number, label="cat") for number in range(30)])
    with pytest.raises(ConfigurationError, match="only 19 images"):
        gathered(tmp_path, many(19))
    with pytest.raises(ConfigurationError, match="there is no image"):
        gathered(tmp_path, [])


def test_what_was_left_out_is_told_with_a_refusal() -> None:
    with pytest.raises(ConfigurationError, match=r"two classes or more.*\n3 are skipped") as told:
        require_enough(["cat"] * 20 + [""], ["3 are skipped"])
    assert "Only" not in str(told.value)
    require_enough(["cat"] * 10 + ["bird"] * 10)


def test_few_images_and_rare_classes_are_warned_of(tmp_path: Path) -> None:
    notes = " ".join(gathered(tmp_path, [*many(), image(99, label="rare")]).notes)
    assert "Only 31 images" in notes
    assert "rare" in notes


def test_another_label_is_other_data(tmp_path: Path) -> None:
    same, changed = many(), many()
    changed[0] = replace(changed[0], label="bird")
    first = gathered(tmp_path, same).data_hash
    assert gathered(tmp_path, same).data_hash == first
    assert gathered(tmp_path, changed).data_hash != first


def test_what_the_cache_has_is_not_read_again(tmp_path: Path) -> None:
    def never() -> bytes:
        raise AssertionError("read though it is known")

    gathered(tmp_path, many())
    known = [
        replace(each, read=never, content_hash=content_hash(picture(number)))
        for number, each in enumerate(many())
    ]
    assert gathered(tmp_path, known).facts["images"] == 30
