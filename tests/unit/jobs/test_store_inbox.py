"""Events are claimed once, answered once, and never lost."""

from datetime import timedelta

import pytest

from ml_backend.errors import LeaseLost, ProjectNotConnected
from ml_backend.jobs.store import Claim, Store
from ml_backend.records import WebhookEvent

from .builders import LATER, NOW, SOON, event, project


def claimed(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


@pytest.fixture
def two(store: Store) -> Store:
    """A store with the projects 1 and 2."""
    store.save_project(project(1))
    store.save_project(project(2))
    return store


def test_event_makes_its_project_dirty_and_is_claimed_with_its_ids(two: Store) -> None:
    sent = WebhookEvent("ANNOTATIONS_DELETED", 1, (), (8, 9))
    two.receive(sent, NOW)
    claim = claimed(two.claim("me", 60, NOW))

    assert claim.project_id == 1
    assert claim.owner == "me"
    assert claim.events == (WebhookEvent("ANNOTATIONS_DELETED", 1, (), (8, 9), NOW),)
    assert claim.requested == frozenset()


def test_ids_up_to_the_largest_are_kept(two: Store) -> None:
    two.receive(event(1, task_id=2**63 - 101), NOW)

    assert claimed(two.claim("me", 60, NOW)).events[0].annotation_ids == (2**63 - 1,)


def test_nothing_is_claimed_where_nothing_happened(two: Store) -> None:
    assert two.claim("me", 60, NOW) is None


def test_event_or_request_for_an_unknown_project_is_refused_and_not_stored(two: Store) -> None:
    with pytest.raises(ProjectNotConnected, match="9"):
        two.receive(event(9), NOW)
    with pytest.raises(ProjectNotConnected, match="9"):
        two.mark_dirty(9, "sync", NOW)
    assert two.claim("me", 60, NOW) is None


def test_finished_events_are_done_and_the_project_is_clean(two: Store) -> None:
    two.receive(event(1), NOW)
    two.finish(claimed(two.claim("me", 60, NOW)), SOON)

    assert not two.is_dirty(1)
    assert two.claim("me", 60, SOON) is None


def test_ten_events_during_a_round_make_one_next_round(two: Store) -> None:
    two.receive(event(1, task_id=1), NOW)
    claim = claimed(two.claim("me", 60, NOW))
    assert not two.is_dirty(1)
    for task_id in range(2, 12):
        two.receive(event(1, task_id=task_id), NOW)
    assert two.is_dirty(1)
    two.finish(claim, NOW)

    following = claimed(two.claim("me", 60, NOW))
    assert [each.task_ids for each in following.events] == [(n,) for n in range(2, 12)]
    two.finish(following, NOW)
    assert not two.is_dirty(1)


def test_same_request_twice_is_one_and_a_request_is_no_event(two: Store) -> None:
    for reason in ("sync", "reconcile", "sync"):
        two.mark_dirty(1, reason, NOW)
    claim = claimed(two.claim("me", 60, NOW))

    assert claim.requested == {"sync", "reconcile"}
    assert claim.events == ()


def test_request_made_during_a_round_is_asked_of_the_next(two: Store) -> None:
    two.mark_dirty(1, "sync", NOW)
    claim = claimed(two.claim("me", 60, NOW))
    two.mark_dirty(1, "sync", NOW)
    two.finish(claim, NOW)

    assert claimed(two.claim("me", 60, NOW)).requested == {"sync"}


def test_longest_waiting_project_comes_first(two: Store) -> None:
    two.receive(event(2), NOW)
    two.receive(event(1), NOW)
    two.receive(event(2), NOW)

    assert claimed(two.claim("me", 60, NOW)).project_id == 2


def test_named_project_is_claimed_before_its_turn(two: Store) -> None:
    two.receive(event(2), NOW)
    two.receive(event(1), NOW)

    assert claimed(two.claim("me", 60, NOW, project_id=1)).project_id == 1


def test_held_projects_are_claimed_too(two: Store) -> None:
    two.update_project(1, held=True)
    two.receive(event(1), NOW)

    assert claimed(two.claim("me", 60, NOW)).project_id == 1


def test_claimed_project_is_nobody_elses_while_the_lease_runs(two: Store) -> None:
    two.receive(event(1), NOW)
    two.claim("first", 60, NOW)

    assert two.claim("second", 60, NOW + timedelta(seconds=59)) is None


def test_expired_lease_is_taken_over_with_all_its_work_and_the_first_owner_is_fenced_off(
    two: Store,
) -> None:
    two.receive(event(1), NOW)
    first = claimed(two.claim("first", 60, NOW))
    minute_later = NOW + timedelta(seconds=60)
    second = claimed(two.claim("second", 60, minute_later))

    assert second.events == first.events
    with pytest.raises(LeaseLost, match="first"):
        two.renew(first, 60, minute_later)
    with pytest.raises(LeaseLost, match="first"):
        two.finish(first, minute_later)
    two.abandon(first, LATER)  # changes nothing
    two.renew(second, 60, minute_later)
    two.finish(second, minute_later)


def test_finished_by_the_second_the_first_cannot_finish_what_arrived_since(two: Store) -> None:
    two.receive(event(1), NOW)
    first = claimed(two.claim("first", 60, NOW))
    two.finish(claimed(two.claim("second", 60, LATER)), LATER)
    two.receive(event(1, task_id=2), LATER)

    with pytest.raises(LeaseLost):
        two.finish(first, LATER)
    assert two.is_dirty(1)


def test_owner_claims_its_own_project_again_and_its_older_claim_is_void(two: Store) -> None:
    two.receive(event(1), NOW)
    older = claimed(two.claim("me", 60, NOW))
    two.receive(event(1, task_id=2), NOW)
    newer = claimed(two.claim("me", 60, NOW))

    assert len(newer.events) == 2
    with pytest.raises(LeaseLost):
        two.finish(older, NOW)
    two.finish(newer, NOW)


def test_renewed_lease_runs_from_the_renewal(two: Store) -> None:
    two.receive(event(1), NOW)
    claim = claimed(two.claim("first", 60, NOW))
    two.renew(claim, 60, NOW + timedelta(seconds=50))

    assert two.claim("second", 60, NOW + timedelta(seconds=109)) is None
    assert two.claim("second", 60, NOW + timedelta(seconds=110)) is not None


def test_lease_that_nobody_took_over_can_still_be_finished(two: Store) -> None:
    two.receive(event(1), NOW)
    claim = claimed(two.claim("me", 60, NOW))
    two.finish(claim, LATER)

    assert not two.is_dirty(1)


def test_abandoned_project_keeps_its_work_and_rests_until_its_time(two: Store) -> None:
    two.receive(event(1), NOW)
    two.abandon(claimed(two.claim("me", 60, NOW)), retry_at=SOON)
    two.receive(event(1, task_id=2), NOW)

    assert two.is_dirty(1)
    assert two.claim("me", 60, NOW) is None
    assert two.claim("me", 60, NOW, project_id=1) is None
    again = claimed(two.claim("other", 60, SOON))
    assert [each.task_ids for each in again.events] == [(1,), (2,)]


def test_person_who_asks_need_not_wait_for_the_retry(two: Store) -> None:
    two.receive(event(1), NOW)
    two.abandon(claimed(two.claim("me", 60, NOW)), retry_at=LATER)

    assert two.claim("cli", 60, NOW, project_id=1, skip_backoff=True) is not None


def test_project_that_rests_does_not_stop_the_others(two: Store) -> None:
    two.receive(event(1), NOW)
    two.receive(event(2), NOW)
    two.abandon(claimed(two.claim("me", 60, NOW)), retry_at=LATER)

    assert claimed(two.claim("me", 60, NOW)).project_id == 2


def test_project_removed_during_a_round_takes_its_lease_with_it(two: Store) -> None:
    two.receive(event(1), NOW)
    claim = claimed(two.claim("me", 60, NOW))
    two.remove_project(1)

    with pytest.raises(LeaseLost):
        two.finish(claim, NOW)
    two.abandon(claim, LATER)


def test_a_person_who_waits_gets_a_project_before_any_trainer(two: Store) -> None:
    two.receive(event(1), NOW)
    working = claimed(two.claim("trainer", 60, NOW))
    two.hold_off(1, LATER)
    two.mark_dirty(1, "sync", NOW)
    two.finish(working, NOW)

    assert two.claim("trainer", 60, SOON) is None
    assert claimed(two.claim("person", 60, SOON, 1, skip_backoff=True)).requested == {"sync"}


def test_a_person_who_gave_up_waiting_keeps_no_trainer_away(two: Store) -> None:
    two.mark_dirty(1, "sync", NOW)
    two.hold_off(1, SOON)

    assert two.claim("trainer", 60, NOW) is None
    assert two.claim("trainer", 60, LATER) is not None


def test_echoes_are_no_news(two: Store) -> None:
    two.receive(WebhookEvent("PROJECT_UPDATED", 1), NOW)

    assert two.is_dirty(1)
    assert not two.is_dirty(1, ignoring={"PROJECT_UPDATED"})
