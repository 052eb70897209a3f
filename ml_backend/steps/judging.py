"""Judge: is the challenger better than the champion, on images that neither was trained on?

Both are judged as they would order the queue: network, then a head fitted on the same labels. Where
the holdout cannot tell, each label is predicted by a network that was fine-tuned without it (the
challenger's recipe, fold by fold), against the champion's head fitted without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.learning.evaluation import evaluate
from ml_backend.learning.finetuning import FineTuned, Pictures, fine_tune
from ml_backend.learning.head import Head, fit_head, stratified_folds
from ml_backend.learning.picture_embeddings import embed_pictures
from ml_backend.learning.promotion import PairedTest, Verdict, judge, paired_test
from ml_backend.steps.embed import embed_beside
from ml_backend.steps.examples import Examples, now_labeled
from ml_backend.steps.learn import fit_beside
from ml_backend.steps.situation import Situation
from ml_backend.steps.tuning_bench import TuningBench

if TYPE_CHECKING:
    from ml_backend.learning.backbones import Backbone

CROSS_VALIDATION_FOLDS = 3


@dataclass(frozen=True, slots=True)
class Judged:
    """What judging came to: the verdict, and both models' evaluation on the holdout."""

    verdict: Verdict
    challenger: dict[str, Any]  # Evaluation.as_dict()
    champion: dict[str, Any]
    temperature: float  # of the challenger's head


@dataclass(frozen=True, slots=True)
class _Contestant:
    """One of the two, with its head and its probabilities on the holdout (H, C)."""

    head: Head | None
    probs_HC: NDArray[np.float32]
    raw_probs_HC: NDArray[np.float32]  # without the temperature

    def is_right(self, labels_H: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(self.probs_HC.argmax(axis=1) == labels_H)

    def evaluation(self, labels_H: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Any]:
        found = evaluate(self.probs_HC, labels_H, classes, probs_uncalibrated_HC=self.raw_probs_HC)
        return found.as_dict()


def judge_challenger(
    bench: TuningBench,
    challenger: Backbone,
    learned_from: frozenset[str],
    examples: Examples,
    pictures: Pictures,
) -> Judged:
    """Compare the challenger with the champion. `learned_from` are the images it was trained on."""
    champion = bench.bench.backbone()
    situation = _embedded_by_both(bench, champion, challenger)
    before = _contestant(bench, champion, bench.bench.learned_from(), situation)
    after = _contestant(bench, challenger, learned_from, situation)
    labels_H, classes = situation.holdout_labels_H, bench.bench.project.control.classes
    in_both = np.flatnonzero(bench.cache_of(champion).has_all(pictures.hashes))
    verdict = judge(
        paired_test(before.is_right(labels_H), after.is_right(labels_H)),
        partial(_cross_validated, bench, champion, examples, pictures.take(in_both)),
        tests_before=tests_since_promotion(bench),
    )
    return Judged(
        verdict,
        after.evaluation(labels_H, classes),
        before.evaluation(labels_H, classes),
        after.head.temperature if after.head else 1.0,
    )


def _embedded_by_both(bench: TuningBench, champion: Backbone, challenger: Backbone) -> Situation:
    """Embed what is labeled, as of now, by both; what one of them could not read is left out."""
    inner, control = bench.bench, bench.bench.project.control
    labeled = now_labeled(inner, control)
    judged_on = [*labeled.labeled_ids_M.tolist(), *labeled.holdout_ids_H.tolist()]
    caches = [bench.cache_of(backbone) for backbone in (champion, challenger)]
    for backbone, cache in zip((champion, challenger), caches, strict=True):
        embed_beside(inner, backbone, cache, judged_on, bench.between_batches)
    return now_labeled(inner, control, lambda name: all(cache.has(name) for cache in caches))


def tests_since_promotion(bench: TuningBench) -> int:
    """Count the tests that the champion has stood: each one more may be passed by luck."""
    tests = 0
    for record in bench.bench.store.fine_tunes(bench.project_id, limit=1000):
        if record.state == "promoted":
            break
        tests += int(record.outcome.get("verdict", {}).get("tests_spent", 0))
    return tests


def _contestant(
    bench: TuningBench,
    backbone: Backbone,
    learned_from: frozenset[str],
    situation: Situation,
) -> _Contestant:
    n_classes = len(bench.bench.project.control.classes)
    cache = bench.cache_of(backbone)
    head = fit_beside(bench.bench, situation, cache, learned_from)
    embeddings_HD = cache.rows(situation.holdout_hashes)
    if head is None:
        even_HC = np.full((len(embeddings_HD), n_classes), 1 / n_classes, dtype=np.float32)
        return _Contestant(None, even_HC, even_HC)
    raw = replace(head, temperature=1.0)
    return _Contestant(head, head.probs(embeddings_HD), raw.probs(embeddings_HD))


def _cross_validated(
    bench: TuningBench, champion: Backbone, examples: Examples, pictures: Pictures
) -> PairedTest:
    """Compare on labels that neither network was trained on, each fold fine-tuned without them."""
    row_of = {name: row for row, name in enumerate(examples.hashes)}
    labels_N = examples.labels_M[[row_of[name] for name in pictures.hashes]]
    n_classes, seed = len(examples.classes), bench.plan.recipe.seed
    unseen_N = np.array([name not in bench.bench.learned_from() for name in pictures.hashes])
    right = {"champion": np.zeros(len(labels_N), bool), "challenger": np.zeros(len(labels_N), bool)}
    before_ND = bench.cache_of(champion).rows(pictures.hashes)
    fold_N = stratified_folds(labels_N, seed, CROSS_VALIDATION_FOLDS)
    for fold in range(CROSS_VALIDATION_FOLDS):
        bench.tell(
            "judging", doing=f"cross-validation, fold {fold + 1} of {CROSS_VALIDATION_FOLDS}"
        )
        kept, out = np.flatnonzero(fold_N != fold), np.flatnonzero((fold_N == fold) & unseen_N)
        if not len(out):
            continue
        tuned = train(bench, pictures.take(kept), labels_N[kept], n_classes, f"fold-{fold}")
        network = challenger_of(bench, tuned)
        for name, rows_ND in (
            ("champion", before_ND),
            ("challenger", embed_pictures(network, pictures, bench.go_on)),
        ):
            head = fit_head(rows_ND[kept], labels_N[kept], n_classes, seed=seed)
            assert head is not None
            right[name][out] = head.probs(rows_ND[out]).argmax(axis=1) == labels_N[out]
    return paired_test(right["champion"][unseen_N], right["challenger"][unseen_N])


def train(
    bench: TuningBench,
    pictures: Pictures,
    labels_N: NDArray[np.int64],
    n_classes: int,
    run: str,
) -> FineTuned:
    """Fine-tune on these pictures, or go on with it. `run` names the checkpoints' folder."""
    folder: Path = bench.folder / run
    return fine_tune(
        bench.pretrained(),
        pictures,
        labels_N,
        n_classes,
        bench.plan.recipe,
        folder,
        start=_start(bench),
        on_progress=bench.tell_training,
        interrupted=bench.held.interrupted,
        give_way=bench.held.give_way,
        process=bench.process if run == "run" else None,
    )


def _start(bench: TuningBench) -> Any:
    """Return the champion's weights where they are what to start from."""
    if bench.plan.start == "pretrained" or bench.bench.project.model is None:
        return None
    return bench.bench.backbone().network.state_dict()


def challenger_of(bench: TuningBench, tuned: FineTuned) -> Backbone:
    """Build the backbone that a fine-tune came to."""
    from ml_backend.learning.backbones import rebuild_backbone

    base = bench.pretrained()
    return rebuild_backbone(
        base.facts, tuned.state, base.device, description=f"{base.description}, fine-tuned"
    )
