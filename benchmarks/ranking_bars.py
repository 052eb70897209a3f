"""What ranking may cost at most, and what it costs: seconds, CPU seconds, memory beyond the inputs.

    python -m benchmarks.ranking_speed --bars --docs docs/strategies.md

Each job has processes of its own. The bars are wall seconds on two idle cores, with as many threads
as numpy takes by itself. On a machine with other work these threads wait for one another, spinning,
and neither wall nor CPU seconds mean much; so a second process does the same with one thread. The
best of --repeats counts. The pool has 2,000 clusters and 200 labels, so that there is something to
gain by all of a thousand picks: where clusters are few and tight, herding is done with most of its
work after as many picks, and looks cheaper than it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import peak_mb
from strategies import STRATEGIES, Candidates, Labeled, cluster_pool, rank
from strategies.query import Query

CLUSTERS, LABELED, HEAD = 2_000, 200, 1_000
BAIT_CANDIDATES = 10_000
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """A job, and what it may cost: wall seconds, and MB beyond the inputs where that is limited."""

    job: str
    n: int
    most_s: float
    most_mb: float | None = None


BARS = (
    Bar("uherding, the head", 100_000, 2.0),
    Bar("uherding, full ranking, clusters given", 100_000, 3.0, 500.0),
    Bar("margin, full ranking", 100_000, 0.5),
    Bar("coreset, the head", 100_000, 2.5),
    Bar("badge, the head", 100_000, 2.5),
    Bar("bait, the head of 10,000 candidates", 100_000, 6.0),
    Bar("clusters, once", 1_000_000, 30.0),
    Bar("uherding, full ranking, clusters given", 1_000_000, 6.0),
)


def timed(bar: dict[str, Any]) -> dict[str, Any]:
    """Do one job a few times in this process; return the best run, and the most memory."""
    folder = Path(bar["folder"])
    arrays = {
        name: np.load(folder / f"{name}.npy") for name in ("pool", "probs", "labeled", "clusters")
    }
    job = _prepared(bar["job"], arrays)
    before_mb = peak_mb()
    runs = []
    for _ in range(bar["repeats"]):
        started, cpu = time.perf_counter(), time.process_time()
        picks = job()
        runs.append((time.perf_counter() - started, time.process_time() - cpu))
    wall_s, cpu_s = min(runs)
    memory_mb = peak_mb() - before_mb
    return {"wall_s": wall_s, "cpu_s": cpu_s, "memory_mb": memory_mb, "picks": picks}


def _prepared(job: str, arrays: dict[str, Any]) -> Callable[[], int]:
    """Return the job as a function, which returns how many picks the strategy made by itself."""
    pool_ND, labels_M = arrays["pool"], np.arange(LABELED) % arrays["probs"].shape[1]
    weights_DC = np.random.default_rng(0).normal(size=(pool_ND.shape[1], 20)).astype(np.float32)
    labeled = Labeled(arrays["labeled"], labels_M)
    name = job.partition(",")[0]

    def candidates() -> Candidates:
        return Candidates(
            np.arange(len(pool_ND)),
            arrays["probs"],
            pool_ND,
            predict=lambda rows_KD: _softmax(rows_KD @ weights_DC),
        )

    def clusters() -> int:
        return len(np.unique(cluster_pool(pool_ND, np.random.default_rng(0))))

    def head() -> int:
        query = Query(candidates(), labeled, HEAD, np.random.default_rng(0))
        more = {"max_candidates": BAIT_CANDIDATES} if name == "bait" else {}
        return len(STRATEGIES[name].pick(query, **more).rows_K)

    def full() -> int:
        rng = np.random.default_rng(0)
        made = rank(name, candidates(), labeled, head=HEAD, rng=rng, clusters_N=arrays["clusters"])
        assert made.memory is not None
        return len(made.memory.picks.rows_K)

    if name == "clusters":
        return clusters
    return head if "head" in job else full


def _softmax(logits_KC: Any) -> Any:
    exp_KC = np.exp(logits_KC - logits_KC.max(axis=1, keepdims=True))
    return exp_KC / exp_KC.sum(axis=1, keepdims=True)


def measure_bars(
    n_most: int, repeats: int, pool_arrays: Callable[..., dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return one record per bar with at most `n_most` tasks; no record is left out for missing."""
    records = []
    with tempfile.TemporaryDirectory() as name:
        made = 0
        for bar in (bar for bar in BARS if bar.n <= n_most):
            if bar.n != made:
                made = bar.n
                _save(pool_arrays(bar.n, clusters=CLUSTERS, labeled=LABELED), Path(name))
            asked = {"bars_job": True, "job": bar.job, "folder": name, "repeats": repeats}
            record = {"job": bar.job, "n": bar.n, "most_s": bar.most_s, "most_mb": bar.most_mb}
            load = os.getloadavg()[0]
            of_all, of_one = (_in_own_process(asked, name, threads) for threads in (None, 1))
            alone = {"cpu_s": of_one["cpu_s"], "one_thread_s": of_one["wall_s"]}
            records.append({**record, "load": load, **of_all, **alone})
            print(json.dumps(records[-1]), file=sys.stderr, flush=True)
    return records


def _save(arrays: dict[str, Any], folder: Path) -> None:
    # Clusters are made here, so that the memory for making them is not in the way of a ranking's.
    clusters_N = cluster_pool(arrays["pool"], np.random.default_rng(0))
    for key, array in {**arrays, "clusters": clusters_N}.items():
        np.save(folder / f"{key}.npy", array)


def _in_own_process(asked: dict[str, Any], folder: str, threads: int | None) -> dict[str, Any]:
    job_file = Path(folder) / "job.json"
    job_file.write_text(json.dumps(asked))
    command = [sys.executable, "-m", "benchmarks.ranking_speed", "--own-job", str(job_file)]
    limited = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, env={**os.environ, **limited}, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def table(records: list[dict[str, Any]]) -> str:
    """Return the Markdown table: what it cost, what it may cost, and what missed its bar."""
    lines = [
        "| what | tasks | wall s | one thread: wall s | CPU s | memory | bar | load before |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in records:
        bar = f"{r['most_s']:g} s" + (f", {r['most_mb']:.0f} MB" if r["most_mb"] else "")
        cells = [
            r["job"],
            f"{r['n']:,}",
            f"{r['wall_s']:.2f}",
            f"{r['one_thread_s']:.2f}",
            f"{r['cpu_s']:.2f}",
            f"{r['memory_mb']:.0f} MB",
            bar + (" **missed**" if missed(r) else ""),
            f"{r['load']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def missed(record: dict[str, Any]) -> bool:
    """Return whether a record took longer than its bar, or more memory."""
    too_much = record["most_mb"] is not None and record["memory_mb"] > record["most_mb"]
    return bool(record["wall_s"] > record["most_s"] or too_much)
