"""Running one round from the command line, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from ml_backend.errors import LeaseLost
from ml_backend.jobs.store import Claim, Store
from ml_backend.settings import Settings

# A trainer that is at work on the project gives it back within a round; a dead one's lease ends.
WAIT_FOR_CLAIM_S = 120.0
# The trainer asks for work twenty times a second and would always be first; a command that waits
# and dies must not keep it away for long.
HOLD_OFF = timedelta(seconds=3)


def run_now(
    settings: Settings,
    store: Store,
    project_id: int,
    on_progress: Callable[[str, int, int], None],
    **mode: bool,
) -> Any:
    """Claim the project, run a round in this process and return it (a `rounds.Round`)."""
    from ml_backend import wiring
    from ml_backend.jobs.trainer import run_claimed
    from ml_backend.rounds import Mode

    workbench = wiring.workbench_factory(settings, store, on_progress)
    with claimed(store, project_id, "sync") as (claim, still_ours):
        bench = workbench(project_id, still_ours)
        previous = wiring.last_results(settings)(project_id)
        return run_claimed(bench, claim, previous, lambda: False, Mode(**mode))


@contextmanager
def claimed(
    store: Store, project_id: int, reason: str
) -> Iterator[tuple[Claim, Callable[[], None]]]:
    """Keep every trainer away from the project meanwhile; yield the claim and `still_ours`.

    Waits for a round that is at work. Where the block fails, the claim is given back undone.
    """
    from ml_backend.jobs.trainer import kept_claim, trainer_name

    claim = _claim(store, project_id, reason, trainer_name())
    try:
        with kept_claim(store, claim, _now) as still_ours:
            yield claim, still_ours
    except BaseException:  # an interrupt too: the trainer should not have to wait for the lease
        store.abandon(claim, _now())
        raise


def summary(done: Any) -> dict[str, Any]:
    """Return a round as JSON-able values."""
    return {
        "round": done.round_id,
        "state": done.state,
        "version": done.version,
        "front": [entry.task_id for entry in done.entries[:20]],
        **done.report(),
    }


def _claim(store: Store, project_id: int, reason: str, owner: str) -> Claim:
    from ml_backend.jobs.trainer import LEASE_S

    end = time.monotonic() + WAIT_FOR_CLAIM_S
    store.hold_off(project_id, _now() + HOLD_OFF)
    store.mark_dirty(project_id, reason, _now())  # a round that is at work is cut short by it
    while time.monotonic() < end:
        claim = store.claim(owner, LEASE_S, _now(), project_id, skip_backoff=True)
        if claim is not None:
            return claim
        store.hold_off(project_id, _now() + HOLD_OFF)
        time.sleep(0.2)
    raise LeaseLost(
        f"project {project_id}: a trainer has been at work on it for {WAIT_FOR_CLAIM_S:.0f} s; "
        "try again later"
    )


def _now() -> datetime:
    return datetime.now(UTC)
