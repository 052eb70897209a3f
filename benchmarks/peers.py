"""Run one selection of another library, in its own environment: `python peers.py JOB.json`.

Knows none of this project's code, since it runs where that is not installed. JOB.json names the
library, the method, a folder of arrays and the number of picks; the answer is printed as one line
of JSON: seconds, CPU seconds, the most memory beyond the inputs, and the rows picked.

The pool is unlabeled but for the labeled rows. scikit-activeml's classifier is a stand-in that
answers with the given probabilities, so that no training is timed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from memory import peak_mb  # beside this file, which is run as a script


def main() -> None:
    """Time the selection named in the job file."""
    job = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(job["folder"])
    arrays = SimpleNamespace(
        **{name: np.load(folder / f"{name}.npy") for name in ("pool", "probs", "labeled", "labels")}
    )
    select = METHODS[job["library"]][job["method"]](arrays, job["picks"])
    before_mb = peak_mb()
    started, cpu = time.perf_counter(), time.process_time()
    rows = select()
    answer = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "memory_mb": peak_mb() - before_mb,
        "rows": [int(row) for row in rows],
    }
    print(json.dumps(answer))


def _skactiveml(name: str, **options: Any) -> Any:
    def prepare(arrays: Any, picks: int) -> Any:
        from skactiveml import pool

        strategy = getattr(pool, name)(random_state=0, **options)
        x = np.concatenate([arrays.pool, arrays.labeled])
        y = np.concatenate([np.full(len(arrays.pool), np.nan), arrays.labels])
        more = {}
        if name in ("Badge", "DropQuery"):
            more = {"clf": _answering(arrays), "fit_clf": False}
        return lambda: strategy.query(x, y, batch_size=picks, **more)

    return prepare


def _answering(arrays: Any) -> Any:
    """Return a fitted scikit-activeml classifier whose answers take one product."""
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    n_classes = arrays.probs.shape[1]
    inner = LogisticRegression(max_iter=20, tol=1.0)
    clf = SklearnClassifier(inner, classes=np.arange(n_classes), random_state=0)
    return clf.fit(arrays.labeled, arrays.labels)


def _small_text_coreset(arrays: Any, picks: int) -> Any:
    from small_text.query_strategies.coresets import greedy_coreset

    x = np.concatenate([arrays.pool, arrays.labeled])
    open_rows, labeled_rows = np.arange(len(arrays.pool)), np.arange(len(arrays.pool), len(x))
    return lambda: greedy_coreset(x, open_rows, labeled_rows, picks, distance_metric="euclidean")


def _small_text_kmeans(arrays: Any, picks: int) -> Any:
    from small_text.query_strategies.strategies import EmbeddingKMeans

    everything = np.arange(len(arrays.pool))
    nothing = np.empty(0, dtype=int)
    return lambda: EmbeddingKMeans().sample(
        None, None, everything, nothing, nothing, picks, arrays.pool
    )


def _modal_ranked_batch(arrays: Any, picks: int) -> Any:
    from modAL.batch import ranked_batch

    labeled = SimpleNamespace(X_training=arrays.labeled, transform_without_estimating=lambda x: x)
    labeled.on_transformed = False
    unsure = 1.0 - np.sort(arrays.probs, axis=1)[:, -1]
    return lambda: ranked_batch(labeled, arrays.pool, unsure, picks, "euclidean", 1)[0]


def _modal_margin(arrays: Any, picks: int) -> Any:
    from modAL.uncertainty import margin_sampling

    answering = SimpleNamespace(predict_proba=lambda *_, **__: arrays.probs)
    return lambda: margin_sampling(answering, arrays.pool, n_instances=picks)[0]


def _baal_margin(arrays: Any, picks: int) -> Any:
    from baal.active.heuristics import Margin

    probs = arrays.probs[:, :, None]
    return lambda: Margin().get_ranks(probs)[0][:picks]


def _apricot(arrays: Any, picks: int) -> Any:
    from apricot import FacilityLocationSelection

    selection = FacilityLocationSelection(picks, metric="euclidean", optimizer="lazy")
    return lambda: selection.fit(arrays.pool.astype(np.float64)).ranking


METHODS: dict[str, dict[str, Any]] = {
    "scikit-activeml": {
        "CoreSet": _skactiveml("CoreSet"),
        "Badge": _skactiveml("Badge"),
        "MaxHerding": _skactiveml("MaxHerding"),
        "TypiClust": _skactiveml("TypiClust"),
        "DropQuery": _skactiveml("DropQuery"),
    },
    "modAL": {"margin": _modal_margin, "ranked batch": _modal_ranked_batch},
    "baal": {"margin": _baal_margin},
    "small-text": {"greedy coreset": _small_text_coreset, "embedding k-means": _small_text_kmeans},
    "apricot": {"facility location": _apricot},
}

if __name__ == "__main__":
    main()
