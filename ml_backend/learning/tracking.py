"""Curves of a fine-tune in TensorBoard or MLflow, for who wants them.

Knows names, numbers and steps; nothing of models, and nothing here is read back. A fine-tune never
waits for a tracker, nor ends with one: what cannot be written is logged once and left out. MLflow
is spoken to from a thread of its own, since its server may be gone, slow or not one at all.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import Any, Protocol

from ml_backend.errors import ConfigurationError

REQUEST_TIMEOUT_S = 5
FINISH_PATIENCE_S = 15.0
# Calls that may wait for a slow server. At one an epoch that is far more than a fine-tune makes.
MOST_WAITING = 500
_MLFLOW_TAG_LENGTH = 5000

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Where the numbers of one fine-tune go. No method raises or blocks for long."""

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Write down the numbers of one step; what is no finite number is left out."""

    def finish(self, card: Mapping[str, Any]) -> None:
        """Write down what became of it, and close. Called once, last."""


class Trackers:
    """Several trackers as one; none of them is fine too."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self._trackers = trackers

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Write to each."""
        for tracker in self._trackers:
            tracker.log(metrics, step)

    def finish(self, card: Mapping[str, Any]) -> None:
        """Finish each."""
        for tracker in self._trackers:
            tracker.finish(card)


class TensorBoardTracker:
    """Writes event files below a folder. Raises ConfigurationError where it is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _not_installed("TensorBoard", "tensorboard") from error
        self._complained = False
        self._writer: Any = None
        self._quietly(lambda: setattr(self, "_writer", SummaryWriter(str(folder))))

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Write scalars and flush them, so that they can be watched."""
        self._quietly(lambda: self._write(metrics, step))

    def finish(self, card: Mapping[str, Any]) -> None:
        """Write the card as text and the holdout's measures as scalars, and close."""
        text = json.dumps(card, ensure_ascii=False, indent=1, default=str)
        indented = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown's code
        self._quietly(lambda: self._writer.add_text("model_card", indented))
        self._quietly(lambda: self._write(dict(_holdout_numbers(card)), 0))
        self._quietly(lambda: self._writer.close())

    def _write(self, metrics: Mapping[str, Any], step: int) -> None:
        for name, value in _numbers(metrics):
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def _quietly(self, write: Callable[[], None]) -> None:
        """Log the first failure of the disk; ValueError is what a closed file answers."""
        if self._complained:
            return
        try:
            write()
        except (OSError, ValueError) as error:
            self._complained = True
            log.warning("TensorBoard gets no more of this fine-tune: %s", error)


class MlflowTracker:
    """Writes one run to an MLflow server. Raises ConfigurationError where it is not installed.

    The server is not asked anything until the first `log`, and then in the background. After its
    first failure no more is sent.
    """

    def __init__(self, tracking_uri: str, experiment: str, run_name: str) -> None:
        self._client = _mlflow_client(tracking_uri)
        self._experiment, self._run_name = experiment, run_name
        self._run_id = ""
        self._failed = False
        self._sent: list[AsyncResult[None]] = []
        # One worker keeps the order. Its thread is a daemon: a server that hangs keeps no process.
        self._worker = ThreadPool(1)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Send numbers when the server has time."""
        numbers = list(_numbers(metrics))
        now_ms = int(time.time() * 1000)
        self._soon(lambda: self._send(numbers, step, now_ms))

    def finish(self, card: Mapping[str, Any]) -> None:
        """Send settings, the verdict and the holdout's measures; wait some seconds at most."""
        now_ms = int(time.time() * 1000)
        self._soon(lambda: self._send_card(card, now_ms))
        if self._sent:
            self._sent[-1].wait(FINISH_PATIENCE_S)
            if not self._sent[-1].ready():
                log.warning(
                    "MLflow did not answer in %.0f s; the end is missing", FINISH_PATIENCE_S
                )
        self._failed = True
        self._worker.close()  # without waiting: its thread dies with its last call, or with us

    def _soon(self, call: Callable[[], None]) -> None:
        if self._failed:
            return
        self._sent = [result for result in self._sent if not result.ready()]
        if len(self._sent) >= MOST_WAITING:
            self._fail(TimeoutError(f"{MOST_WAITING} calls are waiting"))
            return
        sent = self._worker.apply_async(self._unless_failed, (call,), error_callback=self._fail)
        self._sent.append(sent)

    def _unless_failed(self, call: Callable[[], None]) -> None:
        if not self._failed:
            call()

    def _fail(self, error: BaseException) -> None:
        if not self._failed:
            kind = type(error).__name__
            log.warning("MLflow gets no more of this fine-tune: %s: %.300s", kind, error)
        self._failed = True

    def _run(self) -> str:
        """Open the run at first need. On the worker's thread, as all that follows."""
        if not self._run_id:
            found = self._client.get_experiment_by_name(self._experiment)
            experiment_id = (
                found.experiment_id if found else self._client.create_experiment(self._experiment)
            )
            run = self._client.create_run(experiment_id, run_name=self._run_name)
            self._run_id = str(run.info.run_id)
        return self._run_id

    def _send(self, numbers: list[tuple[str, float]], step: int, now_ms: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_mlflow_name(name), value, now_ms, step) for name, value in numbers]
        self._client.log_batch(self._run(), metrics=metrics, synchronous=True)

    def _send_card(self, card: Mapping[str, Any], now_ms: int) -> None:
        from mlflow.entities import Param, RunTag

        settings = {name: card.get(name) for name in ("kind", "parent", "seed")}
        settings |= card.get("recipe") or {}
        params = [
            Param(_mlflow_name(name), str(value)[:500])
            for name, value in settings.items()
            if value is not None
        ]
        said = {"model": card.get("name"), "verdict": (card.get("verdict") or {}).get("reason")}
        tags = [RunTag(key, str(text)[:_MLFLOW_TAG_LENGTH]) for key, text in said.items() if text]
        self._client.log_batch(self._run(), params=params[:100], tags=tags, synchronous=True)
        self._send(list(_holdout_numbers(card)), 0, now_ms)
        self._client.set_terminated(self._run_id)


def _mlflow_client(tracking_uri: str) -> Any:
    """Make a client that gives up soon, and that tells nobody else that it is used."""
    try:
        from mlflow import MlflowClient, environment_variables
        from mlflow.telemetry import set_telemetry_client
    except ImportError as error:
        raise _not_installed("MLflow", "mlflow") from error
    environment_variables.MLFLOW_DISABLE_TELEMETRY.set(True)
    set_telemetry_client()  # reads the line above; nothing has been sent before the first call
    environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.set(REQUEST_TIMEOUT_S)
    environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)
    return MlflowClient(tracking_uri=tracking_uri)


def _not_installed(name: str, extra: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name} is not installed: pip install 'active-labeler[{extra}]', or switch it off"
    )


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield name, float(value)


def _holdout_numbers(card: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Name the measures on the holdout, "holdout/accuracy" and so on."""
    metrics = card.get("holdout_metrics") or {}
    for name, found in metrics.items():
        value = found.get("value") if isinstance(found, Mapping) else found
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"holdout/{name}", float(value)


def _mlflow_name(name: str) -> str:
    """Keep to the characters that MLflow takes in names."""
    kept = "".join(each if each.isalnum() or each in "_-./ " else "_" for each in name)
    return kept[:250]
