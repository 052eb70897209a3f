"""The slow story: a network learns a project, and orders its queue only if it proves better."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml_backend import fine_tune
from ml_backend.jobs.held_fine_tune import held_fine_tune
from ml_backend.learning.epochs import Epochs
from ml_backend.learning.pictures import Pictures
from ml_backend.learning.registry import unpack_hashes
from ml_backend.steps.examples import gather, now_labeled
from tests.tuning_loop import OWNER, RECIPE, TuningLoop

# A network that is ruined instead of trained: the rate is a thousand times too high.
RUINOUS = replace(RECIPE, learning_rate=1.0, clip_norm=0.0, epochs=2, warmup_share=0.0)


def labeled_loop(folder: Path, n: int = 150, **options: Any) -> TuningLoop:
    """A project with all but 20 tasks labeled, and a third of the images held out."""
    made = TuningLoop(folder, **options)
    made.store.update_project(made.project_id, audit_share=0.33)
    made.server.add_tasks(n)
    made.ask("connect")
    made.run()
    made.label_all_but(20)
    return made


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> TuningLoop:
    """A loop whose network was fine-tuned, with the round after it."""
    loop = labeled_loop(tmp_path_factory.mktemp("promoted"))
    loop.version_before = loop.server.settings.model_version  # type: ignore[attr-defined]
    loop.order_before = loop.server.served_order(20)  # type: ignore[attr-defined]
    loop.ended = loop.fine_tune()  # type: ignore[attr-defined]
    loop.version_meanwhile = loop.server.settings.model_version  # type: ignore[attr-defined]
    loop.run()
    return loop


def test_a_better_network_is_promoted_by_the_holdout(promoted: Any) -> None:
    assert promoted.ended == "promoted", promoted.outcome()
    verdict = promoted.outcome()["verdict"]
    assert verdict["decided_by"] == "holdout"
    assert verdict["holdout"]["p_better"] < 0.025
    assert promoted.model() == promoted.outcome()["model"]


def test_the_queue_stays_as_it_is_until_the_round_after_the_promotion(promoted: Any) -> None:
    assert promoted.version_meanwhile == promoted.version_before
    settings = promoted.server.settings
    assert settings.model_version not in ("", promoted.version_before)
    assert promoted.versions()[settings.model_version] == "current"
    assert len(promoted.server.served_order(20)) == 20


def test_the_round_after_it_is_as_good_as_the_card_says(promoted: Any) -> None:
    report = promoted.last_round().report
    accuracy = promoted.registry.card(promoted.model()).holdout_accuracy()
    assert report["holdout_accuracy"] == pytest.approx(accuracy["value"])
    assert report["holdout_interval"] == [accuracy["low"], accuracy["high"]]


def test_the_card_tells_where_the_model_comes_from(promoted: Any) -> None:
    card = promoted.registry.card(promoted.model())
    parent = promoted.registry.card(str(card.parent))
    assert (parent.kind, parent.backbone_key) == ("pretrained", promoted.backbone_of(None)[0].key)
    assert sum(card.label_counts.values()) == card.details["examples"]
    assert card.n_trained + card.validation["n"] == card.details["examples"]
    assert card.holdout == {"share": 0.33, "project_id": promoted.project_id}
    assert len(card.history) == RECIPE.epochs
    assert card.verdict == promoted.outcome()["verdict"]


def test_images_that_the_network_learned_from_are_not_calibrated_on(promoted: Any) -> None:
    stored = promoted.registry.load(promoted.model())
    learned_from = set(unpack_hashes(stored.arrays["learned_from"]))
    bench = promoted.workbench(promoted.project_id, lambda: None)
    assert bench.learned_from() == learned_from
    assert learned_from < set(gather(bench).hashes)


def test_rolling_back_restores_the_order_that_was_served(promoted: Any) -> None:
    in_force = promoted.model()
    order = promoted.server.served_order(20)
    promoted.store.switch_model(promoted.project_id, None, "a test", promoted.now())
    promoted.ask("promote")
    promoted.run()
    assert promoted.server.served_order(20) == promoted.order_before != order
    promoted.store.switch_model(promoted.project_id, in_force, "a test", promoted.now())
    promoted.ask("promote")
    promoted.run()
    assert promoted.server.served_order(20) == order
    states = {record.model: record.state for record in promoted.store.models(1)}
    assert states[in_force] == "champion"


def test_a_worse_challenger_is_refused_and_changes_nothing(promoted: Any) -> None:
    before = (promoted.model(), promoted.server.settings, promoted.server.served_order(20))
    promoted.recipe = RUINOUS
    try:
        ended = promoted.fine_tune()
    finally:
        promoted.recipe = RECIPE
    promoted.run()
    assert ended in ("refused", "failed"), promoted.outcome()  # failed: it diverged
    assert before == (
        promoted.model(),
        promoted.server.settings,
        promoted.server.served_order(20),
    )


def test_a_stopped_fine_tune_goes_on_to_exactly_the_same_model(tmp_path: Path) -> None:
    loop = labeled_loop(tmp_path, n=60, recipe=replace(RECIPE, epochs=4))
    keys = []
    for stops in (None, 2):
        stopping = threading.Event()
        if stops is not None:
            with stopped_after(stops, stopping):
                assert loop.fine_tune(stopping) == "waiting"
            assert loop.store.fine_tunes(1)[0].is_open
        assert loop.fine_tune() in ("promoted", "refused")
        keys.append(loop.registry.card(loop.outcome()["model"]).backbone_key)
        loop.store.switch_model(1, None, "a test", loop.now())
    assert keys[0] == keys[1]


@contextmanager
def stopped_after(epochs: int, stopping: threading.Event) -> Iterator[None]:
    """Set `stopping` once so many epochs have been learned, as SIGTERM would."""
    learn, done = Epochs.learn, []

    def counted(self: Epochs, *arguments: Any) -> Any:
        if len(done) == epochs:
            stopping.set()
        done.append(1)
        return learn(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Epochs, "learn", counted)
        yield


def test_a_cancelled_fine_tune_ends_and_leaves_no_model(tmp_path: Path) -> None:
    loop = labeled_loop(tmp_path, n=60)
    record = loop.store.ask_fine_tune(1, "test", loop.now())
    with held_fine_tune(
        loop.store, record.fine_tune_id, OWNER, loop.now, threading.Event()
    ) as held:
        loop.store.cancel_fine_tune(1, loop.now())
        held.renew()  # as it does every two seconds
        assert fine_tune.run_fine_tune(loop.tuning_bench(held)) == "cancelled"
    assert loop.store.fine_tunes(1)[0].state == "cancelled"
    assert loop.registry.names() == []
    assert loop.model() is None


def test_one_class_alone_cannot_be_learned_and_says_so(tmp_path: Path) -> None:
    loop = TuningLoop(tmp_path)
    loop.server.add_tasks(12)
    loop.ask("connect")
    loop.run()
    loop.label(3, "cat", webhook=False)
    loop.label(6, "cat", webhook=False)
    loop.ask("sync")
    loop.run()
    assert loop.fine_tune() == "failed"
    assert "two classes" in loop.outcome()["error"]


def test_without_a_holdout_cross_validation_decides(tmp_path: Path) -> None:
    loop = TuningLoop(tmp_path)
    loop.server.add_tasks(140)
    loop.ask("connect")
    loop.run()
    loop.label_all_but(20)
    assert loop.fine_tune() == "promoted", loop.outcome()
    verdict = loop.outcome()["verdict"]
    assert verdict["decided_by"] == "cross-validation"
    assert verdict["cross_validation"]["n"] == 120


def test_held_out_images_never_reach_the_network_in_training(
    tmp_path: Path, recorded: set[str]
) -> None:
    """A life: labels, deletions, new tasks, another class, corrections; a fine-tune after each."""
    loop = labeled_loop(tmp_path, n=60, recipe=replace(RECIPE, epochs=1))
    tasks = list(loop.server.task_table)

    def delete_and_add() -> None:
        for task_id in tasks[:15]:
            loop.server.delete_task(task_id)
        loop.server.add_tasks(15)
        loop.ask("sync")
        loop.run()
        loop.label_all_but(5)

    def another_class() -> None:
        loop.server.label_config = loop.server.label_config.replace(
            '<Choice value="bird"/>', '<Choice value="bird"/><Choice value="newt"/>'
        )
        loop.hear("PROJECT_UPDATED")
        loop.run()
        loop.label(tasks[-1], "newt", webhook=False)
        loop.ask("sync")
        loop.run()

    def unlabel_and_correct() -> None:
        first, second, *_ = loop.server.annotation_table
        loop.server.delete_annotation(first)
        loop.server.update_annotation(second, "bird")
        loop.ask("sync")
        loop.run()

    for change in (lambda: None, delete_and_add, another_class, unlabel_and_correct):
        change()
        recorded.clear()
        assert loop.fine_tune() in ("promoted", "refused")
        holdout = loop.workbench(1, lambda: None).holdout
        assert len(recorded) > 20
        assert not [name for name in recorded if holdout.has(name)]
        loop.run()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Every content hash that the data loader reads a picture of."""
    seen: set[str] = set()
    read = Pictures.rows

    def rows(self: Pictures, rows_B: Any) -> Any:
        seen.update(self.hashes[row] for row in rows_B.tolist())
        return read(self, rows_B)

    monkeypatch.setattr(Pictures, "rows", rows)
    return seen


def test_one_that_died_after_registering_is_ended_without_training_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = labeled_loop(tmp_path, n=60, recipe=replace(RECIPE, epochs=1))

    def die(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fine_tune, "_end", die)
        with pytest.raises(KeyboardInterrupt):
            loop.fine_tune()
    names = loop.registry.names()
    with monkeypatch.context() as patch:
        patch.setattr(Epochs, "learn", die)
        assert loop.fine_tune() in ("promoted", "refused")
    assert loop.registry.names() == names


def test_the_folder_of_a_fine_tune_goes_with_it(promoted: Any) -> None:
    left = promoted.folder / "fine-tunes"
    assert list(left.iterdir()) == []


def test_models_beyond_those_that_are_kept_go_with_their_embeddings(tmp_path: Path) -> None:
    loop = labeled_loop(tmp_path, n=60, models_keep=1)
    keys = []
    for rate in (1e-5, 2e-5, 3e-5):  # too little to be any better
        loop.recipe = replace(RECIPE, epochs=1, learning_rate=rate)
        assert loop.fine_tune() == "refused", loop.outcome()
        keys.append(loop.registry.card(loop.outcome()["model"]).backbone_key)
    kinds = [loop.registry.card(name).kind for name in loop.registry.names()]
    assert kinds.count("pretrained") == 1
    assert 1 <= kinds.count("fine-tuned") <= 2  # the newest, and the best if it is another
    assert loop.forgotten
    assert set(loop.forgotten) < set(keys)
    removed = [record for record in loop.store.models(1) if record.state == "removed"]
    assert len(removed) == len(loop.forgotten)


def test_an_image_that_can_no_longer_be_read_is_left_out_by_both(tmp_path: Path) -> None:
    loop = labeled_loop(tmp_path, n=60, recipe=replace(RECIPE, epochs=1))
    situation = now_labeled(
        loop.workbench(1, lambda: None), loop.workbench(1, lambda: None).project.control
    )
    gone = {int(situation.holdout_ids_H[0]), int(situation.labeled_ids_M[0])}
    loop.images.unreadable = dict.fromkeys(gone, "The file is gone.")
    assert loop.fine_tune() in ("promoted", "refused"), loop.outcome()
    card = loop.registry.card(loop.outcome()["model"])
    assert card.holdout_metrics["n"] == len(situation.holdout_ids_H) - 1
    assert card.n_trained + card.validation["n"] == len(situation.labeled_ids_M) - 1
