"""Everything goes wrong that can go wrong, one thing after the other, and each time all is right
again: nothing lost, nothing doubled, one version in force, and the queue as it was published.

The tests share one stack and run in this order; each leaves it settled, and right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from ml_backend.jobs.store import Store
from tests.e2e.processes import set_file_size_limit
from tests.e2e.stack import TASKS, Stack, digit_images, renew_token, wait_until
from tests.e2e.truths import Truth, find_everything_right, look, mirrored, settle

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(300)]


def annotate_next(stack: Stack, n: int) -> list[int]:
    """Annotate the next n tasks by the API; return the annotations' ids."""
    return [stack.annotate(task_id) for task_id in look(stack).served()[:n]]


def test_a_deleted_annotation_gives_its_task_back(stack: Stack) -> None:
    first, *_rest = annotate_next(stack, 5)
    before = find_everything_right(stack)
    task_id = before.labels[first][0]
    assert task_id in before.labeled
    stack.delete(f"/api/annotations/{first}/")
    after = find_everything_right(stack)
    assert after.labeled == before.labeled - {task_id}
    assert stack.about("why", "--task", str(task_id))["place"] is not None


def test_a_corrected_annotation_is_learned_anew(stack: Stack) -> None:
    (made,) = annotate_next(stack, 1)
    settle(stack)
    other = {"from_name": "digit", "to_name": "image", "type": "choices"}
    result = [{**other, "value": {"choices": ["7"]}}]
    stack.patch(f"/api/annotations/{made}/", {"result": result})
    truth = find_everything_right(stack)
    assert mirrored(stack)[made] == truth.labels[made] == (truth.labels[made][0], "7", False)


def test_a_skip_is_no_label_and_its_task_stays_in_the_pool(stack: Stack) -> None:
    before = find_everything_right(stack)
    skipped = before.served()[0]
    stack.annotate(skipped, skip=True)
    after = find_everything_right(stack)
    assert after.labeled == before.labeled
    assert after.skipped == before.skipped | {skipped}
    assert after.served()[0] != skipped


def test_new_tasks_are_embedded_and_ranked(stack: Stack) -> None:
    images = digit_images(stack.folder / "digits")[TASKS : TASKS + 10]
    made = stack.upload(images)
    truth = find_everything_right(stack)
    assert len(made) == 10
    assert set(made) <= set(truth.tasks)
    assert stack.about("why", "--task", str(made[0]))["place"] is not None


def test_deleted_tasks_are_forgotten(stack: Stack) -> None:
    before = settle(stack)
    unlabeled, labeled = before.served()[0], min(before.labeled)
    for task_id in (unlabeled, labeled):
        stack.delete(f"/api/tasks/{task_id}/")
        del stack.truth[task_id]
    after = find_everything_right(stack)
    assert set(before.tasks) - set(after.tasks) == {unlabeled, labeled}


def test_what_happens_while_no_webhook_arrives_is_found_by_looking(stack: Stack) -> None:
    first, *_rest = annotate_next(stack, 2)
    before = find_everything_right(stack)
    stack.serve.stop()
    try:
        made = annotate_next(stack, 3)
        stack.annotate(look(stack).served()[-1], skip=True)
        stack.delete(f"/api/annotations/{first}/")
        gone = before.served()[-2]
        stack.delete(f"/api/tasks/{gone}/")
        del stack.truth[gone]
        after = find_everything_right(stack)
    finally:
        stack.start_serving()
    assert set(made) <= set(mirrored(stack))
    assert first not in mirrored(stack)
    assert after.version != before.version


def test_a_webhook_that_was_switched_off_is_made_good_for(stack: Stack) -> None:
    (hook,) = [
        each
        for each in stack.get("/api/webhooks/", project=stack.project_id)
        if each["url"].startswith(stack.backend_url)
    ]
    stack.patch(f"/api/webhooks/{hook['id']}/", {"is_active": False, "actions": hook["actions"]})
    before = settle(stack)
    annotate_next(stack, 2)
    after = find_everything_right(stack)
    assert len(after.labeled) == len(before.labeled) + 2
    stack.patch(f"/api/webhooks/{hook['id']}/", {"is_active": True, "actions": hook["actions"]})


def round_running(store: Store, project_id: int) -> bool:
    return store.rounds(project_id, limit=1)[0].state == "running"


def version_being_written(store: Store, project_id: int) -> bool:
    return any(record.state == "publishing" for record in store.versions(project_id))


def just_switched(store: Store, project_id: int) -> bool:
    last = store.rounds(project_id, limit=1)[0]
    return store.versions(project_id)[0].round_id == last.round_id and last.state == "running"


STAGES = (round_running, version_being_written, just_switched)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_trainer_killed_at_a_stage_of_its_round_leaves_nothing_half_done(
    stack: Stack, stage: Callable[[Store, int], bool]
) -> None:
    before = find_everything_right(stack)
    with stack.store() as store:
        annotate_next(stack, 2)
        wait_until(lambda: stage(store, stack.project_id), stage.__name__, 20)
        stack.train.kill()
    assert_still_served_whole(stack, before)
    stack.train.start()
    after = find_everything_right(stack)
    assert len(after.labeled) == len(before.labeled) + 2


def test_a_trainer_killed_at_random_moments_loses_nothing(stack: Stack) -> None:
    rng = np.random.default_rng(7)
    before = find_everything_right(stack)
    for moment_s in rng.uniform(0.0, 0.8, 2):
        annotate_next(stack, 2)
        time.sleep(moment_s)
        stack.train.kill()
        assert_still_served_whole(stack, before)
        stack.train.start()
        find_everything_right(stack)
    assert len(look(stack).labeled) == len(before.labeled) + 4


def assert_still_served_whole(stack: Stack, before: Truth) -> None:
    """Whatever was killed: the version in force has at least a front, in its order."""
    now = look(stack)
    assert now.project["sampling"] == "Uncertainty sampling"
    with stack.store() as store:
        window = store.window(stack.project_id, now.version)
    assert now.served(), "nothing with a place is left: tasks are served at random"
    assert now.served() == [each for each in window if each in set(now.served())]
    assert now.version == before.version or now.version in now.versions()


def test_label_studio_killed_in_mid_round_comes_back_to_a_whole_queue(stack: Stack) -> None:
    before = find_everything_right(stack)
    with stack.store() as store:
        annotate_next(stack, 3)
        wait_until(lambda: version_being_written(store, stack.project_id), "a version is written")
        stack.label_studio.kill()
    time.sleep(1)
    stack.label_studio.start()
    after = find_everything_right(stack)
    assert len(after.labeled) == len(before.labeled) + 3
    assert stack.train.running


def test_label_studio_restarted_between_rounds_is_found_again(stack: Stack) -> None:
    before = find_everything_right(stack)
    stack.label_studio.restart()
    annotate_next(stack, 1)
    assert len(find_everything_right(stack).labeled) == len(before.labeled) + 1


def test_a_revoked_token_stops_the_rounds_with_a_sentence_and_loses_nothing(stack: Stack) -> None:
    before = find_everything_right(stack)
    new = renew_token(stack.label_studio, stack.environment["LABEL_STUDIO_API_KEY"])
    stack.train.stop()  # the access token that it bought lives on for minutes
    stack.train.start()
    annotate_next(stack, 2)
    wait_until(lambda: "was revoked" in stack.train.log(), "the trainer says so", 30)
    refused = stack.command("sync", "--project", str(stack.project_id))
    assert refused.code == 3
    assert "was revoked" in " ".join(refused.err.split())
    assert look(stack).version == before.version
    stack.train.stop()
    stack.serve.stop()
    stack.use({**stack.environment, "LABEL_STUDIO_API_KEY": new})
    stack.start_serving()
    stack.train.start()
    after = find_everything_right(stack)
    assert len(after.labeled) == len(before.labeled) + 2


@contextmanager
def full_disk(stack: Stack) -> Iterator[None]:
    """No file of the trainer's can grow, as where the disk is full; later there is space again."""
    before = set_file_size_limit(stack.train.pid, 0)
    try:
        yield
    finally:
        set_file_size_limit(stack.train.pid, *before)


def test_a_full_disk_stops_the_rounds_and_the_next_one_goes_on(stack: Stack) -> None:
    before = find_everything_right(stack)
    with full_disk(stack):
        annotate_next(stack, 2)
        time.sleep(3)
        assert stack.train.running
        assert_still_served_whole(stack, before)
    after = find_everything_right(stack)
    assert stack.train.running
    assert len(after.labeled) == len(before.labeled) + 2


def test_nothing_was_logged_that_nobody_may_know(stack: Stack) -> None:
    logs = stack.train.log() + stack.serve.log()
    assert stack.environment["LABEL_STUDIO_API_KEY"] not in logs
    with stack.store() as store:
        hook = next(
            each
            for each in stack.get("/api/webhooks/", project=stack.project_id)
            if each["id"] == store.projects()[0].webhook_id
        )
    assert not any(secret in logs for secret in hook["headers"].values())
