"""What admins do on the command line, and that a project is left as it was found.

The tests share one stack and run in this order; each leaves it settled, and right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ml_backend.labelstudio.connection import TITLE
from tests.e2e.stack import Stack
from tests.e2e.strangers import THEIR_BACKEND, inventory
from tests.e2e.truths import find_everything_right, look, settle

pytestmark = [pytest.mark.label_studio, pytest.mark.slow, pytest.mark.timeout(300)]


def connect(stack: Stack, code: int = 0) -> Any:
    return stack.about("connect", "--backend-url", stack.backend_url, code=code)


def findings(stack: Stack, code: int) -> dict[str, tuple[str, str]]:
    """Run doctor; return check → (state, what was found)."""
    found = stack.about("doctor", code=code)
    return {each["check"]: (each["state"], each["detail"]) for each in found}


def annotate(stack: Stack, n: int) -> None:
    for task_id in look(stack).served()[:n]:
        stack.annotate(task_id)


def our_things(stack: Stack) -> dict[str, Any]:
    queue = look(stack).predictions()
    for prediction in queue.values():
        del prediction["created_ago"]  # "0 minutes", until it is one
    return {**inventory(stack), "queue": queue}


def test_connecting_again_changes_nothing(stack: Stack) -> None:
    find_everything_right(stack)
    before = our_things(stack)
    again = connect(stack)
    assert again["round"]["state"] == "unchanged"
    assert our_things(stack) == before


def test_a_dry_run_and_a_sync_find_the_published_order_and_change_nothing(stack: Stack) -> None:
    truth = find_everything_right(stack)
    for arguments in (("--dry-run",), ()):
        answer = stack.about("sync", *arguments)
        assert answer["state"] == ("dry-run" if arguments else "unchanged")
        assert answer["front"] == truth.served()[:20]
        changes = answer["changes"]
        assert (changes["enter"], changes["moved"]) == ([], len(truth.served()) - changes["stay"])
        assert find_everything_right(stack).version == truth.version


def test_a_full_sync_writes_the_whole_queue(stack: Stack) -> None:
    stack.about("sync", "--full")
    truth = find_everything_right(stack)
    pool = set(truth.tasks) - truth.labeled
    assert set(truth.served()) == pool


def test_a_rollback_holds_an_earlier_order_until_the_next_sync(stack: Stack) -> None:
    annotate(stack, 2)
    current = find_everything_right(stack).version
    held = stack.about("rollback")["version"]
    assert held != current
    annotate(stack, 2)
    assert settle(stack).version == held
    assert stack.about("status")["projects"][0]["held"] is True
    assert findings(stack, code=0)["rounds"][0] == "warning"
    released = stack.about("sync")
    assert released["state"] == "published"
    assert find_everything_right(stack).version == released["version"] != held


def test_why_explains_a_task_and_fails_for_one_that_is_not_ranked(stack: Stack) -> None:
    truth = find_everything_right(stack)
    first = stack.about("why", "--task", str(truth.served()[0]))
    assert (first["place"], first["model_version"]) == (0, truth.version)
    assert first["in_published_window"] is True
    assert first["nearest_labeled"]["task"] in truth.labeled
    assert stack.about("why", "--task", str(min(truth.labeled)), code=1)["place"] is None


def test_exit_codes_tell_what_kind_of_thing_is_wrong(stack: Stack) -> None:
    project = ("--project", str(stack.project_id))
    nobody = ("--project", "4711")
    url = ("--backend-url", stack.backend_url)
    assert stack.command("status", *nobody).code == 2
    assert stack.command("connect", *nobody, *url).code == 3
    before = our_things(stack)
    assert stack.command("connect", *project, "--backend-url", "http://127.0.0.1:9/").code == 2
    assert our_things(stack) == before, "an address that cannot be used changed something"
    assert stack.command("sync", *project, LABEL_STUDIO_API_KEY="").code == 2
    assert stack.command("sync", *project, LABEL_STUDIO_API_KEY="0" * 40).code == 3
    find_everything_right(stack)


def change_sampling(stack: Stack) -> None:
    stack.patch(stack.project_path, {"sampling": "Sequential sampling"})


def change_model_version(stack: Stack) -> None:
    stack.patch(stack.project_path, {"model_version": THEIR_BACKEND})


def ask_for_two_annotations(stack: Stack) -> None:
    stack.patch(stack.project_path, {"maximum_annotations": 2})


def ask_for_live_predictions(stack: Stack) -> None:
    stack.patch(stack.project_path, {"evaluate_predictions_automatically": True})


def swap_two_places(stack: Stack) -> None:
    truth = look(stack)
    first, second = (truth.predictions()[task_id] for task_id in truth.served()[:2])
    stack.patch(f"/api/predictions/{first['id']}/", {"score": second["score"] + 0.0001})


def switch_the_webhook_off(stack: Stack) -> None:
    for hook in our_webhooks(stack):
        off = {"is_active": False, "actions": hook["actions"]}
        stack.patch(f"/api/webhooks/{hook['id']}/", off)


def delete_the_webhook(stack: Stack) -> None:
    for hook in our_webhooks(stack):
        stack.delete(f"/api/webhooks/{hook['id']}/")


def register_twice(stack: Stack) -> None:
    theirs = next(each for each in backends(stack) if each["title"] == THEIR_BACKEND)
    second = {"project": stack.project_id, "url": f"{theirs['url']}/two", "title": TITLE}
    stack.post("/api/ml", second)


def delete_the_backend(stack: Stack) -> None:
    for each in backends(stack):
        if each["title"] == TITLE:
            stack.delete(f"/api/ml/{each['id']}")


def stop_serving(stack: Stack) -> None:
    stack.serve.stop()


def backends(stack: Stack) -> list[dict[str, Any]]:
    return list(stack.get("/api/ml", project=stack.project_id))


def our_webhooks(stack: Stack) -> list[dict[str, Any]]:
    hooks = stack.get("/api/webhooks/", project=stack.project_id)
    return [hook for hook in hooks if hook["url"].startswith(stack.backend_url)]


# What was done, the check that must notice, how loudly, a word that it must say. Each group is done
# at once: what one fault does must not hide another.
Fault = tuple[Callable[[Stack], None], str, str, str]
FAULTS: dict[str, list[Fault]] = {
    "settings": [
        (change_sampling, "sampling", "failure", "Sequential"),
        (ask_for_two_annotations, "overlap", "warning", "2 annotations"),
        (ask_for_live_predictions, "live predictions", "warning", "every task"),
        (swap_two_places, "served order", "failure", "place 1"),
        (switch_the_webhook_off, "webhook", "failure", "switched off"),
        (register_twice, "ML backend", "warning", "2 times"),
    ],
    "deletions": [
        (change_model_version, "model version", "failure", THEIR_BACKEND),
        (delete_the_webhook, "webhook", "failure", "none"),
        (delete_the_backend, "ML backend", "failure", "not registered"),
    ],
    "outage": [(stop_serving, "ML backend", "failure", "cannot reach")],
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_doctor_names_what_somebody_did_and_connecting_again_repairs_it(
    stack: Stack, faults: list[Fault]
) -> None:
    find_everything_right(stack)
    stack.train.stop()  # it would put some of it right within a second
    settings = stack.get(stack.project_path)
    try:
        for do, *_rest in faults:
            do(stack)
        found = findings(stack, code=1)
    finally:
        if not stack.serve.running:
            stack.start_serving()
        for key in ("maximum_annotations", "evaluate_predictions_automatically"):
            stack.patch(stack.project_path, {key: settings[key]})
        stack.train.start()
    for _do, check, state, word in faults:
        assert found[check][0] == state, found[check]
        assert word in found[check][1]
    connect(stack)
    find_everything_right(stack)


def test_doctor_has_nothing_to_say_where_all_is_well(stack: Stack) -> None:
    find_everything_right(stack)
    assert {state for state, _detail in findings(stack, code=0).values()} == {"ok"}


def test_detaching_at_work_leaves_everything_as_it_was_found(
    stack: Stack, before_us: dict[str, Any]
) -> None:
    annotate(stack, 2)  # a round is at work
    stack.about("detach")
    annotated = set(look(stack).labeled)
    now = inventory(stack)
    still_there = set(stack.truth)
    before = {
        **before_us,
        "predictions": [each for each in before_us["predictions"] if each[0] in still_there],
    }
    assert now == before
    assert not [v for v in look(stack).versions() if v.startswith("al-")]
    assert stack.command("status", "--project", str(stack.project_id)).code == 2
    assert stack.train.running
    connect(stack)
    assert find_everything_right(stack).labeled == annotated
