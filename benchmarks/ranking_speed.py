"""Ours against other libraries: the same pool, growing until each fails, and what each reached.

    python -m benchmarks.ranking_speed --peers-python VENV/bin/python --docs docs/strategies.md

Each selection runs in a process of its own, with one thread, --cap-s CPU seconds and --cap-gib of
memory at most; a method that failed is not asked for larger pools. Ours returns an order of the
whole pool, the others their picks. Two numbers say whether fast means worse: the coverage radius
(the largest distance of a task to the nearest pick or label, what k-center makes small) and the
herding objective (the mean kernel value to the nearest, what herding makes large), both on unit
vectors.

`--setup VENV` makes an environment with the other libraries first; missing ones are reported.
`--bars` measures ours alone against what it may cost at most (`ranking_bars`).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import peak_mb
from benchmarks.ranking_bars import REPEATS, measure_bars, timed
from benchmarks.ranking_speed_report import write_bars, write_report

PEERS = ("scikit-activeml", "modAL-python", "baal", "small-text", "apricot-select")
DIM, CLASSES, LABELED = 512, 20, 40
SPREAD = 0.5  # of a cluster, against 1 between clusters: cosines of 0.8 within, 0 between
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
OURS = "ours"
# The methods that are compared with one another, with ours first: (family, [(library, method)]).
FAMILIES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "k-center",
        ((OURS, "coreset"), ("scikit-activeml", "CoreSet"), ("small-text", "greedy coreset")),
    ),
    ("BADGE", ((OURS, "badge"), ("scikit-activeml", "Badge"))),
    (
        "herding",
        ((OURS, "uherding"), (OURS, "maxherding"), ("scikit-activeml", "MaxHerding")),
    ),
    (
        "facility location",
        ((OURS, "facility_location"), ("apricot", "facility location")),
    ),
    ("typicality", ((OURS, "typiclust"), ("scikit-activeml", "TypiClust"))),
    ("k-means", ((OURS, "kmeans"), ("small-text", "embedding k-means"))),
    ("dropout", ((OURS, "dropquery"), ("scikit-activeml", "DropQuery"))),
    ("ranked batch", ((OURS, "mmr"), ("modAL", "ranked batch"))),
    ("margin", ((OURS, "margin"), ("modAL", "margin"), ("baal", "margin"))),
)


def pool_arrays(
    n: int, seed: int = 0, *, clusters: int = 200, labeled: int = LABELED
) -> dict[str, NDArray[Any]]:
    """Return clustered unit embeddings, probabilities, and a few labeled tasks."""
    rng = np.random.default_rng(seed)
    centres_KD = rng.standard_normal((clusters, DIM), dtype=np.float32)
    sizes_K = rng.dirichlet(np.full(clusters, 1.0))  # clusters of unequal size
    embeddings_ND = np.empty((n + labeled, DIM), dtype=np.float32)
    for start in range(0, n + labeled, 8192):
        block = embeddings_ND[start : start + 8192]
        block[:] = SPREAD * rng.standard_normal(block.shape, dtype=np.float32)
        block += centres_KD[rng.choice(clusters, size=len(block), p=sizes_K)]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    probs_NC = rng.dirichlet(np.full(CLASSES, 0.3), size=n).astype(np.float32)
    labels_M = np.arange(labeled) % CLASSES
    return {
        "pool": embeddings_ND[:n],
        "probs": probs_NC,
        "labeled": embeddings_ND[n:],
        "labels": labels_M,
    }


def reached(pool_ND: NDArray[Any], labeled_MD: NDArray[Any], rows: list[int]) -> dict[str, float]:
    """Return the coverage radius and the herding objective (sigma = 1) of picks and labeled."""
    squares_N = np.empty(len(pool_ND), dtype=np.float32)
    picks_KD = np.concatenate([pool_ND[rows], labeled_MD])
    for start in range(0, len(pool_ND), 8192):
        block = pool_ND[start : start + 8192]
        squares_N[start : start + 8192] = (2.0 - 2.0 * (block @ picks_KD.T)).min(axis=1)
    squares_N = np.maximum(squares_N, 0.0)
    return {
        "coverage_radius": float(np.sqrt(squares_N.max())),
        "herding_objective": float(np.exp(-squares_N).mean()),
    }


def select_ours(job: dict[str, Any]) -> dict[str, Any]:
    """Rank a whole pool by one of our strategies; what `peers.py` does for the others."""
    from strategies import Candidates, Labeled, rank

    folder = Path(job["folder"])
    pool, probs, labeled, labels = (
        np.load(folder / f"{name}.npy") for name in ("pool", "probs", "labeled", "labels")
    )
    head_DC = np.random.default_rng(0).normal(size=(DIM, CLASSES)).astype(np.float32) * 3
    before_mb = peak_mb()
    started, cpu = time.perf_counter(), time.process_time()
    ranking = rank(
        job["method"],
        Candidates(np.arange(len(pool)), probs, pool, predict=lambda x: _softmax(x @ head_DC)),
        Labeled(labeled, labels),
        head=job["picks"],
        rng=np.random.default_rng(0),
    )
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "memory_mb": peak_mb() - before_mb,
        "rows": ranking.order[: job["picks"]].tolist(),
    }


def _softmax(logits_KC: NDArray[Any]) -> NDArray[Any]:
    exp_KC = np.exp(logits_KC - logits_KC.max(axis=1, keepdims=True))
    return np.asarray(exp_KC / exp_KC.sum(axis=1, keepdims=True))


def run_selection(
    library: str, job: dict[str, Any], peers_python: Path | None, cap_s: int, cap_gib: int
) -> dict[str, Any]:
    """Run one selection in its own process; `failed` says why there is no answer."""
    job_file = Path(job["folder"]) / "job.json"
    job_file.write_text(json.dumps({**job, "library": library}))
    if library == OURS:
        command = [sys.executable, "-m", "benchmarks.ranking_speed", "--own-job", str(job_file)]
    elif peers_python is None:
        return {"failed": "not installed"}
    else:
        command = [str(peers_python), str(Path(__file__).with_name("peers.py")), str(job_file)]
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **one_thread},
            capture_output=True,
            text=True,
            timeout=20 * cap_s,
            check=False,
            preexec_fn=lambda: _limit(cap_s, cap_gib),
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {20 * cap_s} s by the clock"}
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"failed": f"more than {cap_s} CPU s"}
    if "MemoryError" in done.stderr:
        return {"failed": f"more than {cap_gib} GiB"}
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return {"failed": said[-1][:200] if said else f"ended with {done.returncode}"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _limit(cap_s: int, cap_gib: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cap_s, cap_s + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (cap_gib << 30, cap_gib << 30))


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one record per method and size, until each fails."""
    records, given_up = [], set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in [int(size) for size in options.sizes.split(",")]:
            arrays = pool_arrays(n)
            for array_name, array in arrays.items():
                np.save(folder / f"{array_name}.npy", array)
            for family, methods in FAMILIES:
                for library, method in methods:
                    if (library, method) in given_up:
                        continue
                    job = {"folder": str(folder), "method": method, "picks": options.picks}
                    answer = run_selection(
                        library, job, options.peers_python, options.cap_s, options.cap_gib
                    )
                    if "failed" in answer:
                        given_up.add((library, method))
                    else:
                        answer |= reached(arrays["pool"], arrays["labeled"], answer.pop("rows"))
                    record = {"family": family, "library": library, "method": method, "n": n}
                    records.append({**record, "picks": options.picks, **answer})
                    print(json.dumps(records[-1]), file=sys.stderr, flush=True)
    return records


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the report, or run the one job that was given."""
    options = _parser().parse_args(arguments)
    if options.own_job:
        job = json.loads(options.own_job.read_text())
        print(json.dumps(timed(job) if "bars_job" in job else select_ours(job)))
        return
    if options.setup:
        options.peers_python = set_up(options.setup)
    command = "python -m benchmarks.ranking_speed " + " ".join(arguments or sys.argv[1:])
    if options.bars:
        records = measure_bars(options.most_tasks, options.repeats, pool_arrays)
        write_bars(records, command=command, docs=options.docs)
        return
    write_report(measure(options), command=command, out=options.out, docs=options.docs)


def set_up(venv: Path) -> Path:
    """Make an environment with the other libraries; return its python."""
    python = venv / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *PEERS], check=True)
    return python


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peers-python", type=Path, help="python that has the other libraries")
    parser.add_argument("--setup", type=Path, help="make such an environment here first")
    parser.add_argument("--bars", action="store_true", help="ours against what it may cost")
    parser.add_argument("--most-tasks", type=int, default=1_000_000, help="of the bars' pools")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of which the best counts")
    parser.add_argument("--sizes", default=",".join(str(n) for n in SIZES))
    parser.add_argument("--picks", type=int, default=100)
    parser.add_argument("--cap-s", type=int, default=60, help="CPU seconds, start included")
    parser.add_argument("--cap-gib", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--docs", type=Path, help="Markdown file whose table to replace")
    parser.add_argument("--own-job", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
