"""THE SLOW STORY: how a network learns a project, and comes to order its queue, or does not.

    gather → train → judge → register → adopt

`run_fine_tune` tells it once for one project, in a process of its own; rounds go on meanwhile with
the champion. It may be killed anywhere and goes on where it was: examples and checkpoints are in
its folder, the embedding cache only grows, a challenger that is registered is found again.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ml_backend.errors import ActiveLabelerError, Cancelled, ConfigurationError
from ml_backend.learning.finetuning import FineTuned, Pictures
from ml_backend.learning.model_card import ModelCard
from ml_backend.learning.registry import pack_hashes
from ml_backend.steps.adopting import put_in_force
from ml_backend.steps.examples import Examples, remembered_examples
from ml_backend.steps.judging import Judged, challenger_of, judge_challenger, train
from ml_backend.steps.tuning_bench import TuningBench

if TYPE_CHECKING:
    from ml_backend.learning.backbones import Backbone

log = logging.getLogger(__name__)

RUN = "run"
FEWEST_LABELS = 2  # of different classes: below that there is nothing to tell apart


def run_fine_tune(bench: TuningBench) -> str:
    """Run one fine-tune to its end and return how it ended; a state of FINE_TUNE_STATES.

    gather → train → judge → register → adopt. Returns "waiting" where the process is to end and
    another goes on later. Raises what is nobody's mistake here, such as a full disk.
    """
    try:
        card = _registered(bench) or _make_challenger(bench)
        return _end(bench, card)
    except Cancelled:
        return _stopped(bench)
    except ActiveLabelerError as error:
        log.error("fine-tune of project %d failed: %s", bench.project_id, error)
        return _finish(bench, "failed", error=str(error))


def follow_fine_tune(bench: TuningBench) -> None:
    """Train along with rank 0, which has gathered examples and pictures; judge nothing."""
    assert bench.process is not None
    bench.process.words_from_rank_0(None)
    examples = remembered_examples(bench.folder, bench.bench)
    _train_all(bench, examples, Pictures.open(bench.folder / "pictures"))


def _make_challenger(bench: TuningBench) -> ModelCard:
    bench.tell("training", doing="gathering pictures")
    examples = remembered_examples(bench.folder, bench.bench)
    _require_something_to_learn(examples)
    bench.tell("training", trained_on=len(examples.hashes))
    pictures = _pictures(bench, examples)
    if bench.process is not None:
        bench.process.words_from_rank_0("ready")
    tuned = _train_all(bench, examples, pictures)
    bench.tell("judging", doing="comparing with the champion")
    challenger = challenger_of(bench, tuned)
    validation = set(tuned.validation_rows.tolist())
    learned_from = frozenset(
        name for row, name in enumerate(pictures.hashes) if row not in validation
    )
    judged = judge_challenger(bench, challenger, learned_from, examples, pictures)
    return _register(bench, challenger, tuned, judged, examples, learned_from)


def _pictures(bench: TuningBench, examples: Examples) -> Pictures:
    plan = bench.bench.plan
    return Pictures.prepare(
        bench.folder / "pictures",
        bench.pretrained(),
        examples.items(bench.bench),
        plan.image_max_pixels,
        plan.fetch_workers,
        lambda done: bench.tell("training", pictures=done, of=len(examples.hashes)),
    )


def _train_all(bench: TuningBench, examples: Examples, pictures: Pictures) -> FineTuned:
    row_of = {name: row for row, name in enumerate(examples.hashes)}
    labels_N = examples.labels_M[[row_of[name] for name in pictures.hashes]]
    tuned = train(bench, pictures, labels_N, len(examples.classes), RUN)
    for row in tuned.history:
        bench.trackers.log(row, int(row["epoch"]))
    return tuned


def _register(
    bench: TuningBench,
    challenger: Backbone,
    tuned: FineTuned,
    judged: Judged,
    examples: Examples,
    learned_from: frozenset[str],
) -> ModelCard:
    """Save the challenger with its card: promoted or not, it can be looked at and chosen later."""
    store, project = bench.bench.store, bench.bench.project
    counts = {name: examples.labels.count(row) for row, name in enumerate(examples.classes)}
    card = ModelCard(
        name=f"{challenger.architecture} {bench.plan.recipe.trained}",
        kind="fine-tuned",
        parent=project.model or base_model(bench),
        created_at=bench.bench.now().isoformat(),
        project_id=project.project_id,
        backbone_key=challenger.key,
        backbone_facts=challenger.facts,
        classes=examples.classes,
        label_counts=counts,
        n_trained=len(learned_from),
        data_hash=examples.data_hash(),
        validation={"n": len(tuned.validation_rows), "best_epoch": tuned.best_epoch},
        recipe=bench.plan.recipe.as_dict(),
        seed=bench.plan.recipe.seed,
        code_version=bench.plan.code_version,
        holdout=bench.bench.holdout.facts(),
        holdout_metrics=judged.challenger,
        verdict=judged.verdict.as_dict(),
        calibration={"temperature": judged.temperature},
        history=tuple(tuned.history),
        timings={"training_s": tuned.seconds},
        hardware=tuned.hardware,
        details={
            "fine_tune": bench.held.record.fine_tune_id,
            "champion_metrics": judged.champion,
            "examples": len(examples.hashes),
        },
    )
    arrays = {"learned_from": pack_hashes(sorted(learned_from))}
    name = bench.registry.save(card, challenger.network.state_dict(), arrays)
    state, note = "challenger" if judged.verdict.promote else "refused", judged.verdict.reason
    store.note_model(project.project_id, name, state, note, bench.bench.now())
    saved = bench.registry.card(name)
    bench.trackers.finish(asdict(saved))
    return saved


def base_model(bench: TuningBench) -> str:
    """Name the pretrained backbone in the registry, saving it there the first time.

    So that what the first fine-tuned model came from is kept, whatever is configured later.
    """
    base = bench.pretrained()
    for name in bench.registry.names():
        card = bench.registry.card(name)
        if card.kind == "pretrained" and card.backbone_key == base.key:
            return name
    card = ModelCard(
        name=base.architecture,
        kind="pretrained",
        parent=None,
        created_at=bench.bench.now().isoformat(),
        project_id=bench.project_id,
        backbone_key=base.key,
        backbone_facts=base.facts,
        classes=bench.bench.project.control.classes,
        code_version=bench.plan.code_version,
        holdout=bench.bench.holdout.facts(),
        details={"description": base.description},
    )
    nothing = pack_hashes([])
    return bench.registry.save(card, base.network.state_dict(), {"learned_from": nothing})


def _end(bench: TuningBench, card: ModelCard) -> str:
    """Adopt the challenger, or leave it; clear away what is not needed any more."""
    verdict: dict[str, Any] = card.verdict or {}
    if verdict.get("promote"):
        adopt(bench, card)
    state = "promoted" if verdict.get("promote") else "refused"
    _prune(bench, card.name)
    log.info("project %d, model %s: %s", bench.project_id, card.name, verdict.get("reason"))
    return _finish(
        bench,
        state,
        model=card.name,
        verdict=verdict,
        trained_on=int(card.details.get("examples", card.n_trained)),
    )


def adopt(bench: TuningBench, card: ModelCard) -> None:
    """Embed the pool by the new model while the old one serves, then let the next round switch.

    Images that come meanwhile are embedded by that round. Raises Cancelled.
    """
    from ml_backend.learning.stored_networks import backbone_of

    backbone = backbone_of(bench.registry.load(card.name), str(bench.pretrained().device))
    bench.tell("embedding", doing="embedding the pool by the new model")
    reason = str((card.verdict or {}).get("reason", ""))
    cache = bench.cache_of(backbone)
    put_in_force(bench.bench, card.name, reason, backbone, cache, bench.between_batches)


def _registered(bench: TuningBench) -> ModelCard | None:
    """Find the challenger that this fine-tune registered before its process died."""
    for name in reversed(bench.registry.names()):
        card = bench.registry.card(name)
        if card.details.get("fine_tune") == bench.held.record.fine_tune_id:
            return card
    return None


def _require_something_to_learn(examples: Examples) -> None:
    if len(set(examples.labels)) < FEWEST_LABELS:
        raise ConfigurationError(
            f"{len(examples.labels)} labels of {len(set(examples.labels))} classes to train on: "
            "a network needs labels of two classes at least"
        )


def _prune(bench: TuningBench, newest: str) -> None:
    store = bench.bench.store
    champion = store.get_project(bench.project_id)
    protect = {newest, base_model(bench)}
    protect |= {champion.model} if champion and champion.model else set()
    # What a rollback would go back to.
    retired = [record for record in store.models(bench.project_id) if record.state == "retired"]
    protect |= {record.model for record in sorted(retired, key=lambda r: r.changed_at)[-1:]}
    keys = {name: bench.registry.card(name).backbone_key for name in bench.registry.names()}
    for name in bench.registry.prune(protect, bench.plan.models_keep, bench.plan.models_max_bytes):
        bench.forget_embeddings(keys[name])
        note = "removed to keep to models_keep and models_max_bytes"
        store.note_model(bench.project_id, name, "removed", note, bench.bench.now())
    bench.registry.clear_unfinished()


def _stopped(bench: TuningBench) -> str:
    if bench.held.cancelled:
        return _finish(bench, "cancelled")
    return "waiting"  # another process goes on


def _finish(bench: TuningBench, state: str, **outcome: Any) -> str:
    kept = {"trained_on": bench.held.progress.get("trained_on", 0), **outcome}
    bench.bench.store.finish_fine_tune(
        bench.held.record.fine_tune_id, bench.bench.now(), state=state, outcome=kept
    )
    shutil.rmtree(bench.folder, ignore_errors=True)
    return state
