"""What a round does to the queue, whatever happens to it on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ml_backend.errors import LabelStudioUnreachable, LeaseLost, PublishMismatch
from ml_backend.jobs.trainer import Trainer, kept_claim, run_claimed
from ml_backend.labelstudio.labeling_queue import UNCERTAINTY_SAMPLING
from ml_backend.learning.checkpoints import latest, load_results
from ml_backend.records import QueueEntry
from ml_backend.rounds import Mode
from ml_backend.steps.publish import MAY_BE_OPEN, OPEN_AT_MOST, SLICE, publish_rest, tidy
from strategies import STRATEGIES
from tests.fake_label_studio import FakeQueue
from tests.loop import PLAN, Loop, truth

SETTLED = {"published", "unchanged"}


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """Thirty unlabeled tasks, connected, nothing published yet."""
    made = Loop(tmp_path)
    made.server.add_tasks(30)
    made.ask("connect")
    return made


def test_first_round_publishes_a_diverse_order_before_there_is_any_label(loop: Loop) -> None:
    loop.run()
    assert loop.server.settings.sampling == UNCERTAINTY_SAMPLING
    first_three = loop.server.served_order(3)
    assert {truth(task_id) for task_id in first_three} == {"cat", "hound", "bird"}
    assert loop.last_round().state == "published"


def test_window_is_written_whole_behind_the_front_and_no_further(loop: Loop) -> None:
    loop.run()
    served = loop.server.served_order(100)
    assert len(served) == PLAN.window
    assert served == loop.store.window(loop.project_id, loop.server.settings.model_version)


def test_an_annotation_reorders_the_queue_and_prelabels_it(loop: Loop) -> None:
    loop.run()
    before = loop.server.settings.model_version
    for task_id in loop.server.served_order(6):
        loop.label(task_id)
    loop.run()
    current = loop.server.settings.model_version
    assert current != before
    assert loop.versions() == {before: "superseded", current: "current"}
    shown = {p.task_id: p for p in loop.server.predictions if p.version == current}
    right = [shown[task_id].choice == truth(task_id) for task_id in loop.server.served_order(24)]
    assert len(right) == PLAN.window
    assert all(right)
    assert all(0 < p.confidence <= 1 for p in shown.values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_loop_runs_under_every_strategy(tmp_path: Path, name: str) -> None:
    loop = Loop(tmp_path, plan=replace(PLAN, strategy=name))
    loop.server.add_tasks(30)
    loop.ask()
    loop.run()
    for task_id in loop.server.served_order(6):
        loop.label(task_id)
    loop.run()
    assert [r.state for r in loop.store.rounds(loop.project_id)] == ["published"] * 2
    assert len(loop.server.served_order(100)) == PLAN.window


def test_ten_annotations_during_a_round_make_one_next_round(loop: Loop) -> None:
    loop.run()
    for task_id in loop.server.served_order(10):
        loop.label(task_id)
    loop.run()
    assert len(loop.store.rounds(loop.project_id)) == 2


def test_prelabels_can_be_left_out_without_losing_the_order(tmp_path: Path) -> None:
    loop = Loop(tmp_path, plan=replace(PLAN, prelabel=False))
    loop.server.add_tasks(9)
    loop.ask()
    loop.run()
    for task_id in loop.server.served_order(3):
        loop.label(task_id)
    loop.run()
    assert len(loop.server.served_order(9)) == 6
    assert all(prediction.choice is None for prediction in loop.server.predictions)


def test_a_round_without_news_writes_nothing(loop: Loop) -> None:
    loop.run()
    before = list(loop.server.predictions)
    loop.ask()
    loop.run()
    assert loop.last_round().state == "unchanged"
    assert loop.server.predictions == before


def test_a_look_at_an_idle_project_is_not_a_round(loop: Loop) -> None:
    loop.run()
    loop.ask("look")
    loop.run()
    assert len(loop.store.rounds(loop.project_id)) == 1


@pytest.mark.parametrize(
    "meddled", [{"sampling": "Sequential sampling"}, {"model_version": "Active Labeler"}]
)
def test_settings_that_somebody_changed_are_set_again(loop: Loop, meddled: dict[str, str]) -> None:
    loop.run()
    loop.server.settings = replace(loop.server.settings, **meddled)
    loop.hear("PROJECT_UPDATED")
    loop.run()
    assert loop.server.settings.sampling == UNCERTAINTY_SAMPLING
    assert loop.server.served_order(100) == loop.store.window(
        loop.project_id, loop.server.settings.model_version
    )
    assert len(loop.server.served_order(100)) == PLAN.window


def test_a_deleted_annotation_brings_its_task_back(loop: Loop) -> None:
    loop.run()
    task_id = loop.server.served_order(1)[0]
    made = loop.label(task_id)
    loop.run()
    assert task_id not in loop.store.window(loop.project_id, loop.server.settings.model_version)
    loop.server.delete_annotation(made)
    loop.hear("ANNOTATIONS_DELETED", annotations=(made,))
    loop.run()
    assert loop.last_round().report["labeled"] == 0
    assert loop.last_round().report["pool"] == 30


def test_a_skipped_task_is_no_label_and_goes_to_the_end(tmp_path: Path) -> None:
    loop = Loop(tmp_path, plan=replace(PLAN, window=100))
    loop.server.add_tasks(30)
    loop.ask()
    loop.run()
    task_id = loop.server.served_order(1)[0]
    made = loop.server.annotate(task_id, None, skip=True)
    loop.hear("ANNOTATION_CREATED", tasks=(task_id,), annotations=(made,))
    loop.run()
    report = loop.last_round().report
    assert (report["labeled"], report["skipped"], report["pool"]) == (0, 1, 30)
    assert loop.server.served_order(100)[-1] == task_id


def test_disagreeing_annotators_are_reported_and_not_trained_on(loop: Loop) -> None:
    loop.run()
    task_id = loop.server.served_order(1)[0]
    loop.label(task_id, "cat")
    loop.label(task_id, "bird")
    loop.run()
    report = loop.last_round().report
    assert report["undecided"] == {"tie": 1}
    assert (report["labeled"], report["pool"]) == (0, 29)


def test_an_unreadable_image_stands_last_with_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    loop = Loop(tmp_path, plan=replace(PLAN, window=100))
    tasks = loop.server.add_tasks(5)
    loop.images.unreadable[tasks[2]] = "the file is cut off"
    loop.ask()
    loop.run()
    assert loop.server.served_order(100)[-1] == tasks[2]
    assert len(loop.server.served_order(100)) == 5
    assert loop.store.unreadable(loop.project_id) == {tasks[2]: "the file is cut off"}


def test_what_could_not_be_read_is_tried_again_after_an_hour_unless_somebody_labels(
    tmp_path: Path,
) -> None:
    loop = Loop(tmp_path, plan=replace(PLAN, window=100))
    tasks = loop.server.add_tasks(5)
    loop.ask()
    loop.run()
    long_ago = loop.now() - timedelta(hours=2)
    loop.store.set_unreadable(loop.project_id, {tasks[1]: "its server was down"}, long_ago)
    loop.store.set_unreadable(loop.project_id, {tasks[2]: "the file is cut off"}, loop.now())

    loop.label(tasks[4])
    loop.run()
    while_labeling = loop.store.unreadable(loop.project_id)
    loop.ask("look")
    loop.run()

    assert [*while_labeling] == [tasks[1], tasks[2]]
    assert [*loop.store.unreadable(loop.project_id)] == [tasks[2]]


def test_new_tasks_join_and_deleted_ones_leave(loop: Loop) -> None:
    loop.run()
    gone = loop.server.served_order(1)[0]
    loop.server.delete_task(gone)
    loop.hear("TASKS_DELETED", tasks=(gone,))
    new = loop.server.add_tasks(2)
    loop.hear("TASKS_CREATED", tasks=tuple(new))
    loop.run()
    assert loop.last_round().report["pool"] == 31
    known = set(loop.store.mirror(loop.project_id).task_ids.tolist())
    assert set(new) <= known
    assert gone not in known


@pytest.mark.parametrize("tasks", [0, 6])
def test_where_nothing_is_left_to_label_the_model_is_kept_and_the_queue_left_alone(
    tmp_path: Path, tasks: int
) -> None:
    loop = Loop(tmp_path)
    found = loop.server.settings
    for task_id in loop.server.add_tasks(tasks):
        loop.server.annotate(task_id, truth(task_id))
    loop.ask("connect")
    loop.run()
    [first] = loop.store.rounds(loop.project_id)
    assert (first.state, first.report["labeled"]) == ("published", tasks)
    assert loop.server.settings == found
    assert loop.versions() == {first.model_version: "current"}
    saved = load_results(latest(loop.folder / "rounds"))
    assert len(saved.labeled_ids_M) == tasks

    loop.ask("look")
    loop.run()
    assert len(loop.store.rounds(loop.project_id)) == 1, "there is nothing to do until there is"

    new = loop.server.add_tasks(4)
    loop.ask("look")
    loop.run()
    assert sorted(loop.server.served_order(10)) == new
    assert loop.last_round().state == "published"


def test_an_order_that_is_used_up_ends_in_peace(loop: Loop) -> None:
    loop.run()
    while loop.server.served_order(1):
        loop.label(loop.server.served_order(1)[0])
        loop.run()
    assert {r.state for r in loop.store.rounds(loop.project_id, limit=100)} <= SETTLED
    loop.server.settings = replace(loop.server.settings, sampling="Sequential sampling")
    for _ in range(2):
        loop.ask("sync")
        loop.run()
    assert {r.state for r in loop.store.rounds(loop.project_id, limit=100)} <= SETTLED


def test_what_a_lost_webhook_did_not_tell_is_found_by_looking(loop: Loop) -> None:
    loop.run()
    labeled, deleted = loop.server.served_order(2)
    loop.label(labeled, webhook=False)
    loop.server.delete_task(deleted)
    new = loop.server.add_tasks(1)
    loop.ask("look")
    loop.run()
    report = loop.last_round().report
    assert (report["labeled"], report["pool"]) == (1, 29)
    assert new[0] in loop.store.mirror(loop.project_id).task_ids


def test_counters_that_disagree_are_enough_to_find_what_was_lost(loop: Loop) -> None:
    loop.run()
    loop.label(loop.server.served_order(1)[0], webhook=False)
    loop.ask("count")
    loop.run()
    assert loop.last_round().report["labeled"] == 1


def test_a_label_that_label_studio_has_miscounted_is_not_forgotten(loop: Loop) -> None:
    loop.run()
    first, second = loop.server.served_order(2)
    loop.label(first)
    loop.run()
    loop.server.miscount(first)
    loop.label(second)
    loop.ask("connect")  # everything is read
    loop.run()
    assert loop.last_round().report["labeled"] == 2
    mirror = loop.store.mirror(loop.project_id)
    assert {each.task_id for each in mirror.annotations} == {first, second}


def test_counting_on_an_idle_project_is_not_a_round(loop: Loop) -> None:
    loop.run()
    loop.ask("count")
    loop.run()
    assert len(loop.store.rounds(loop.project_id)) == 1


def test_an_event_without_payload_is_enough(loop: Loop) -> None:
    loop.run()
    loop.label(loop.server.served_order(1)[0], webhook=False)
    loop.hear("ANNOTATION_CREATED")
    loop.run()
    assert loop.last_round().report["labeled"] == 1


def test_an_outage_fails_the_round_and_the_next_one_goes_on(loop: Loop) -> None:
    loop.run()
    order = loop.server.served_order(100)
    loop.label(order[0])
    loop.server.failure = LabelStudioUnreachable("no answer")
    claim = loop.store.claim("test", 30.0, loop.now())
    loop.trainer.work_on(claim)
    assert loop.last_round().state == "failed"
    loop.server.failure = None
    assert loop.server.served_order(100) == order[1:]
    claim = loop.store.claim("test", 30.0, loop.now(), skip_backoff=True)
    loop.trainer.work_on(claim)
    assert loop.last_round().report["labeled"] == 1


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs but the operating system's cleaning up."""


def killed_at(loop: Loop, where: str, *, after: bool) -> None:
    """Run a round that dies in the queue's call `where`, before it or after it."""
    original = getattr(loop.queue, where)

    def deadly(*arguments: object) -> object:
        if after:
            original(*arguments)
        raise Killed

    setattr(loop.queue, where, deadly)
    claim = loop.store.claim("the killed one", 30.0, loop.now(), skip_backoff=True)
    with pytest.raises(Killed):
        loop.trainer.work_on(claim)
    setattr(loop.queue, where, original)
    loop.store.abandon(claim, loop.now())
    loop.trainer = loop.new_trainer()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("where", ["write", "flip"])
def test_a_killed_round_leaves_a_whole_queue_and_the_next_one_clears_up(
    loop: Loop, where: str, *, after: bool
) -> None:
    loop.run()
    before = loop.server.served_order(100)
    loop.label(before[0])
    killed_at(loop, where, after=after)
    left = loop.server.served_order(100)
    flipped = where == "flip" and after
    assert left == (loop.server.served_order(PLAN.front) if flipped else before[1:])
    loop.run()
    current = loop.server.settings.model_version
    assert loop.server.served_order(100) == loop.store.window(loop.project_id, current)
    assert [state for state in loop.versions().values()].count("current") == 1
    assert "publishing" not in loop.versions().values()
    assert loop.last_round().report["labeled"] == 1


def test_superseded_versions_go_but_the_one_for_rollback_stays(loop: Loop) -> None:
    loop.run()
    for _ in range(3):
        loop.label(loop.server.served_order(1)[0])
        loop.run()
    assert len(loop.queue.versions()) == 4
    bench = loop.workbench(loop.project_id, lambda: None)
    loop.server.let_pass(2 * OPEN_AT_MOST)
    tidy(bench, lambda: False)
    assert len(loop.queue.versions()) == 2
    assert loop.server.settings.model_version in loop.queue.versions()


def test_what_somebody_may_have_open_keeps_its_prediction_until_it_is_labeled(loop: Loop) -> None:
    loop.run()
    first, open_elsewhere = loop.server.served_order(2)
    begun = loop.server.settings.model_version
    for task_id in (first, *loop.server.served_order(10)[2:5]):
        loop.label(task_id)
        loop.run()
    bench = loop.workbench(loop.project_id, lambda: None)

    def kept() -> set[int]:
        tidy(bench, lambda: False)
        return {each.task_id for each in loop.server.predictions if each.version == begun}

    assert open_elsewhere in kept()
    assert first not in kept()
    assert len(kept()) < MAY_BE_OPEN
    assert loop.versions()[begun] == "superseded"
    for task_id in sorted(kept()):
        loop.label(task_id)
    loop.run()
    assert kept() == set()
    assert loop.versions()[begun] == "deleted"


def test_what_was_never_in_force_goes_and_is_not_rolled_back_to(loop: Loop) -> None:
    loop.run()
    first = loop.server.settings.model_version
    loop.label(loop.server.served_order(1)[0])
    killed_at(loop, "write", after=True)
    loop.run()
    assert sorted(loop.versions().values()) == ["abandoned", "current", "superseded"]
    tidy(loop.workbench(loop.project_id, lambda: None), lambda: False)
    assert set(loop.queue.versions()) == {first, loop.server.settings.model_version}


def test_an_overtaken_trainer_does_not_switch_the_queue(loop: Loop) -> None:
    loop.run()
    before = loop.server.settings.model_version
    loop.label(loop.server.served_order(1)[0])
    claim = loop.store.claim("slow", 30.0, loop.now())

    def lost() -> None:
        raise LeaseLost("another trainer has the project")

    bench = loop.workbench(loop.project_id, lost)
    with pytest.raises(LeaseLost):
        run_claimed(bench, claim, None, lambda: False)
    assert loop.server.settings.model_version == before


def test_newer_news_cuts_the_writing_behind_the_front_short(loop: Loop) -> None:
    loop.run()
    loop.label(loop.server.served_order(1)[0])
    claim = loop.store.claim("test", 30.0, loop.now())
    bench = loop.workbench(loop.project_id, lambda: None)
    run_claimed(bench, claim, None, lambda: True)
    assert len(loop.server.served_order(100)) == PLAN.front


@pytest.mark.parametrize(
    ("rows_at_once", "written"), [(None, SLICE), (21, SLICE), (20, 20), (1, 20)]
)
def test_the_tail_goes_at_once_where_that_is_cheaper_than_single_writes(
    loop: Loop, rows_at_once: int | None, written: int
) -> None:
    loop.queue.rows_at_once = rows_at_once
    front, tail = PLAN.front, 20
    tasks = list(loop.server.task_table)[: front + tail]
    entries = [QueueEntry(task_id, place, 30) for place, task_id in enumerate(tasks)]
    bench = loop.workbench(loop.project_id, lambda: None)
    news = iter([False, True])  # something comes while the first call is under way

    assert publish_rest(bench, "al-1", entries, lambda: next(news, True)) == written

    assert loop.queue.written("al-1") == tasks[front : front + written]


def test_a_held_queue_stays_until_it_is_let_go(loop: Loop) -> None:
    loop.run()
    loop.store.update_project(loop.project_id, held=True)
    before = loop.server.settings.model_version
    loop.label(loop.server.served_order(1)[0])
    loop.run()
    assert loop.last_round().state == "held"
    assert loop.server.settings.model_version == before
    loop.ask()
    claim = loop.store.claim("test", 30.0, loop.now())
    with kept_claim(loop.store, claim, loop.now) as still_ours:
        bench = loop.workbench(loop.project_id, still_ours)
        run_claimed(bench, claim, None, lambda: False, Mode(release_hold=True))
    assert loop.server.settings.model_version != before
    assert not loop.store.get_project(loop.project_id).held


def test_a_dry_run_says_what_would_come_and_writes_nothing(loop: Loop) -> None:
    claim = loop.store.claim("test", 30.0, loop.now())
    bench = loop.workbench(loop.project_id, lambda: None)
    done = run_claimed(bench, claim, None, lambda: False, Mode(dry_run=True))
    assert done.state == "dry-run"
    assert len(done.entries) == PLAN.window
    assert not loop.server.predictions


def test_a_class_that_is_added_to_the_config_is_learned_from_then_on(loop: Loop) -> None:
    loop.run()
    for task_id in loop.server.served_order(6):
        loop.label(task_id)
    loop.run()
    loop.server.label_config = loop.server.label_config.replace(
        '<Choice value="bird"/>', '<Choice value="bird"/><Choice value="fish"/>'
    )
    loop.queue._classes = ("cat", "hound", "bird", "fish")
    loop.hear("PROJECT_UPDATED")
    loop.run()
    assert loop.store.get_project(loop.project_id).control.classes[-1] == "fish"
    results = loop.trainer.memory[loop.project_id].results
    assert results.probs_NC.shape[1] == 4
    assert results.probs_NC.sum(axis=1) == pytest.approx(1)
    assert loop.last_round().report["labeled"] == 6


def test_a_config_that_cannot_be_learned_fails_the_round_and_leaves_the_queue(loop: Loop) -> None:
    loop.run()
    order = loop.server.served_order(100)
    loop.server.label_config = '<View><Text name="t" value="$t"/></View>'
    loop.hear("PROJECT_UPDATED")
    claim = loop.store.claim("test", 30.0, loop.now())
    loop.trainer.work_on(claim)
    assert loop.server.served_order(100) == order
    assert loop.store.is_dirty(loop.project_id) or loop.store.claim(
        "test", 30.0, loop.now(), skip_backoff=True
    )


def test_what_label_studio_does_not_take_is_not_called_published(loop: Loop) -> None:
    def refuse(_version: str) -> None:
        raise PublishMismatch("something else is stored")

    loop.queue.flip = refuse
    claim = loop.store.claim("test", 30.0, loop.now())
    loop.trainer.work_on(claim)
    assert loop.last_round().state == "failed"
    assert "current" not in loop.versions().values()


def test_every_image_is_fetched_once(loop: Loop) -> None:
    loop.run()
    loop.label(loop.server.served_order(1)[0])
    loop.run()
    loop.ask()
    loop.run()
    assert sorted(loop.images.reads) == sorted(loop.server.task_table)


def test_trainer_survives_a_project_that_fails(loop: Loop) -> None:
    loop.server.failure = LabelStudioUnreachable("down")
    assert isinstance(loop.trainer, Trainer)
    assert loop.trainer.step()
    assert not loop.trainer.step() or loop.last_round().state == "failed"


class EchoingQueue(FakeQueue):
    """Tells of every switch by webhook, as Label Studio does."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop.server, loop.control.classes)
        self.loop = loop

    def flip(self, version: str) -> None:
        super().flip(version)
        self.loop.hear("PROJECT_UPDATED")


def test_the_echo_of_its_own_switch_does_not_cut_a_round_short(loop: Loop) -> None:
    loop.queue = EchoingQueue(loop)
    loop.run()
    assert len(loop.server.served_order(100)) == PLAN.window
    assert len(loop.store.rounds(loop.project_id)) == 1


def test_a_window_that_was_cut_short_is_written_whole_when_nothing_is_new(loop: Loop) -> None:
    loop.run()
    loop.label(loop.server.served_order(1)[0])
    claim = loop.store.claim("test", 30.0, loop.now())
    cut = run_claimed(loop.workbench(1, lambda: None), claim, None, lambda: True)
    loop.trainer.memory[1].results = cut.results
    loop.run()
    assert len(loop.server.served_order(100)) == PLAN.window


def test_predictions_that_somebody_deleted_are_written_again(loop: Loop) -> None:
    loop.run()
    del loop.server.predictions[PLAN.window // 2 :]
    loop.ask("look")
    loop.run()
    assert len(loop.server.served_order(100)) == PLAN.window


def test_a_held_order_that_somebody_switched_away_from_comes_back(loop: Loop) -> None:
    loop.run()
    held = loop.server.settings
    loop.store.update_project(loop.project_id, held=True)
    loop.server.settings = replace(held, model_version="Active Labeler")
    loop.ask("look")
    loop.run()
    assert loop.server.settings == held
    rounds = len(loop.store.rounds(loop.project_id))
    loop.ask("look")
    loop.run()
    assert len(loop.store.rounds(loop.project_id)) == rounds


def test_places_that_somebody_changed_are_put_right_by_a_sync(loop: Loop) -> None:
    loop.run()
    loop.server.predictions[0].score = 0.99
    loop.ask()
    loop.run()
    served = loop.server.served_order(100)
    assert served == loop.store.window(loop.project_id, loop.server.settings.model_version)


def test_what_a_look_found_is_not_lost_when_the_round_after_it_fails(loop: Loop) -> None:
    loop.run()
    task_id = loop.server.served_order(1)[0]
    loop.label(task_id, webhook=False)
    loop.ask("look")
    claim = loop.store.claim("test", 30.0, loop.now())
    loop.trainer.work_on(claim)
    loop.server.failure = LabelStudioUnreachable("down")
    loop.trainer.work_on(loop.store.claim("test", 30.0, loop.now()))
    loop.server.failure = None
    loop.ask("look")
    while claim := loop.store.claim("test", 30.0, loop.now(), skip_backoff=True):
        loop.trainer.work_on(claim)
    assert loop.last_round().state == "published"
    assert loop.last_round().report["labeled"] == 1


def test_a_dry_run_publishes_nothing_and_keeps_the_news_for_the_trainer(loop: Loop) -> None:
    loop.run()
    before = loop.server.settings.model_version
    loop.label(loop.server.served_order(1)[0])
    claim = loop.store.claim("test", 30.0, loop.now())
    run_claimed(loop.workbench(1, lambda: None), claim, None, lambda: False, Mode(dry_run=True))
    assert loop.server.settings.model_version == before
    loop.run()
    assert loop.last_round().state == "published"


def test_the_trainer_takes_up_what_another_process_published(loop: Loop) -> None:
    loop.run()
    loop.ask()
    claim = loop.store.claim("sync", 30.0, loop.now())
    run_claimed(loop.workbench(1, lambda: None), claim, None, lambda: False, Mode(whole=True))
    published = loop.server.settings.model_version
    loop.ask()
    loop.run()
    assert loop.last_round().state == "unchanged"
    assert loop.server.settings.model_version == published
