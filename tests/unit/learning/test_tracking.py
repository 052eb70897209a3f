"""Trackers write what they are given, and stop nothing where they cannot."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ml_backend.learning import tracking
from ml_backend.learning.tracking import MlflowTracker, TensorBoardTracker, Trackers

CARD = {
    "name": "0002-tuned",
    "kind": "fine-tuned",
    "parent": "0001-base",
    "recipe": {"epochs": 3, "augment": "light"},
    "holdout_metrics": {
        "n": 84,
        "accuracy": {"value": 0.75},
        "small": True,
    },
    "verdict": {"promote": True, "reason": "Promoted: on 84 holdout labels ..."},
}
METRICS = {"train_loss": 0.5, "val_loss": None, "bad": float("nan"), "rate": np.float64(0.1)}


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """Serve one answer to whoever connects; None: take the question and say nothing."""
    listening = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # closed
                return
            connections.append(connection)
            if answer is not None:
                connection.recv(65_536)
                connection.sendall(answer)
                connection.close()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    serving.join()
    for connection in connections:
        connection.close()


def test_without_trackers_nothing_happens() -> None:
    Trackers().log(METRICS, 1)
    Trackers().finish(CARD)


@pytest.mark.parametrize(
    ("package", "make", "extra"),
    [
        ("torch.utils.tensorboard", "TensorBoardTracker(Path('x'))", "tensorboard"),
        ("mlflow", "MlflowTracker('http://x', 'y', 'z')", "mlflow"),
    ],
)
def test_a_missing_extra_is_named(package: str, make: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pathlib import Path\n"
        "from ml_backend.learning.tracking import *\n"
        "from ml_backend.learning.tracking import ConfigurationError\n"
        f"try: {make}\nexcept ConfigurationError as error: print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    ).stdout
    assert f"pip install 'active-labeler[{extra}]'" in said


def test_tensorboard_shows_what_was_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardTracker(tmp_path)
    tracker.log(METRICS, 1)
    tracker.log(METRICS | {"train_loss": 0.25}, 2)
    tracker.finish(CARD)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert losses == [(1, 0.5), (2, 0.25)]
    assert set(events.Tags()["scalars"]) == {
        "train_loss",
        "rate",
        "holdout/n",
        "holdout/accuracy",
    }


def test_a_folder_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        tracker = TensorBoardTracker(tmp_path / "file" / "below")
        tracker.log(METRICS, 1)
        tracker.finish(CARD)
    assert caplog.text.count("TensorBoard gets no more") == 1


@pytest.fixture
def mlflow() -> object:
    return pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own store uses what SQLAlchemy will drop
def test_mlflow_holds_what_was_logged(mlflow: object, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = MlflowTracker(uri, "project 7", "fine-tune 1")
    tracker.log(METRICS, 1)
    tracker.log(METRICS | {"train_loss": 0.25}, 2)
    tracker.finish(CARD)
    client = mlflow.MlflowClient(tracking_uri=uri)  # type: ignore[attr-defined]
    [run] = client.search_runs([client.get_experiment_by_name("project 7").experiment_id])
    history = client.get_metric_history(run.info.run_id, "train_loss")
    assert [(each.step, each.value) for each in history] == [(1, 0.5), (2, 0.25)]
    assert run.data.metrics.keys() == {"train_loss", "rate", "holdout/n", "holdout/accuracy"}
    assert run.data.params["augment"] == "light"
    assert run.data.tags["verdict"] == CARD["verdict"]["reason"]  # type: ignore[index]
    assert (run.info.run_name, run.info.status) == ("fine-tune 1", "FINISHED")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<no json>",
        b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"experiment": 3}',
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_a_server_that_answers_nonsense_is_logged_once_and_stops_nothing(
    mlflow: object, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(answer) as url, caplog.at_level(logging.WARNING):
        tracker = MlflowTracker(url, "project 7", "fine-tune 1")
        for step in range(3):
            tracker.log(METRICS, step)
        tracker.finish(CARD)
    assert caplog.text.count("MLflow gets no more") == 1


def test_nobody_listening_stops_nothing(mlflow: object, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with caplog.at_level(logging.WARNING):
        tracker = MlflowTracker(f"http://127.0.0.1:{port}", "project 7", "fine-tune 1")
        tracker.log(METRICS, 1)
        tracker.finish(CARD)
    assert "MLflow gets no more" in caplog.text


def test_a_server_that_never_answers_is_not_waited_for(
    mlflow: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "FINISH_PATIENCE_S", 0.5)
    with answering(None) as url, caplog.at_level(logging.WARNING):
        tracker = MlflowTracker(url, "project 7", "fine-tune 1")
        start = time.monotonic()
        for step in range(20):
            tracker.log(METRICS, step)
        assert time.monotonic() - start < 0.2
        tracker.finish(CARD)
        assert time.monotonic() - start < 2
    assert "MLflow did not answer in 0 s; the end is missing" in caplog.text


@pytest.mark.slow
def test_a_process_ends_though_the_server_hangs(mlflow: object) -> None:
    program = (
        "import sys; from ml_backend.learning import tracking\n"
        "tracking.FINISH_PATIENCE_S = 0.5; tracking.REQUEST_TIMEOUT_S = 600\n"
        "tracker = tracking.MlflowTracker(sys.argv[1], 'a', 'b')\n"
        "tracker.log({'x': 1}, 1); tracker.finish({})"
    )
    with answering(None) as url:
        root = Path(__file__).parents[3]
        subprocess.run([sys.executable, "-c", program, url], check=True, cwd=root, timeout=60)


def test_telemetry_is_off(mlflow: object) -> None:
    MlflowTracker("http://127.0.0.1:1", "a", "b").finish({})
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None
