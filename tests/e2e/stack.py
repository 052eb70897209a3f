"""The whole product, running: a real Label Studio with two annotators and 120 handwritten digits,
`active-labeler serve`, `active-labeler train`, and the project connected by the real command.

What ought to be true after anything that happens is in `tests/e2e/truths.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ml_backend.jobs.store import Store
from scripts.digits_images import write_digits
from scripts.label_studio_content import (
    create_project,
    create_user,
    mint_personal_access_token,
    signed_in,
    upload_images,
)
from scripts.local_label_studio import LocalLabelStudio, free_port
from tests.e2e.processes import Answer, Daemon, base_environment, run_command
from tests.label_studio_server import LEGACY_TOKEN, PASSWORD, _executable

DIGITS = tuple(str(digit) for digit in range(10))
LABEL_CONFIG = (
    '<View><Image name="image" value="$image" maxWidth="360px"/>'
    '<Choices name="digit" toName="image" choice="single" showInline="true">'
    + "".join(f'<Choice value="{digit}" hotkey="{digit}"/>' for digit in DIGITS)
    + "</Choices></View>"
)
TASKS = 120
WINDOW = 40
FRONT = 4
RECONCILE_S = 4.0
ANNOTATORS = ("ann@example.org", "ben@example.org")
WAIT_S = 60.0


@dataclass
class Stack:
    """Everything that runs, and the admin's hands on it."""

    folder: Path
    label_studio: LocalLabelStudio
    http: httpx.Client  # the admin in Label Studio, by a token that the backend does not know
    project_id: int
    truth: dict[int, str]  # task id → the digit that it shows
    environment: dict[str, str]
    serve: Daemon = field(init=False)
    train: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.use(self.environment)

    def use(self, environment: Mapping[str, str]) -> None:
        """Start processes and commands with this environment from now on."""
        self.environment = dict(environment)
        self.serve = Daemon("serve", self.environment, self.folder)
        self.train = Daemon("train", self.environment, self.folder)

    @property
    def model_dir(self) -> Path:
        return Path(self.environment["MODEL_DIR"])

    @property
    def backend_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT']}"

    # --- the product's own hands

    def command(self, *arguments: str, **environment: str) -> Answer:
        """Run `active-labeler ARGUMENTS`."""
        return run_command(arguments, {**self.environment, **environment}, self.folder)

    def about(self, verb: str, *arguments: str, code: int = 0, **environment: str) -> Any:
        """Run a command on the project with --json; return what it said."""
        named = (verb, "--project", str(self.project_id), "--json", *arguments)
        answer = self.command(*named, **environment)
        assert answer.code == code, f"{verb} ended with {answer.code}: {answer.out}{answer.err}"
        return answer.json

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open the backend's store beside the processes that use it."""
        store = Store.open(f"sqlite:///{self.model_dir / 'state.sqlite3'}")
        try:
            yield store
        finally:
            store.close()

    def start_serving(self) -> None:
        self.serve.start()

        def answers() -> bool:
            try:
                return httpx.get(f"{self.backend_url}/health", timeout=2).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers, "serve answers", WAIT_S)

    # --- the admin's hands in Label Studio

    def get(self, path: str, **params: Any) -> Any:
        return _checked(self.http.get(path, params=params))

    def post(self, path: str, json: Any) -> Any:
        return _checked(self.http.post(path, json=json))

    def patch(self, path: str, json: Any) -> Any:
        return _checked(self.http.patch(path, json=json))

    def delete(self, path: str) -> None:
        assert self.http.delete(path).is_success

    @property
    def project_path(self) -> str:
        return f"/api/projects/{self.project_id}/"

    def annotate(self, task_id: int, choice: str | None = None, *, skip: bool = False) -> int:
        """Annotate a task by the API, truly unless told otherwise; return the annotation's id."""
        region = {
            "from_name": "digit",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [choice or self.truth[task_id]]},
        }
        wanted = {"result": [] if skip else [region], "was_cancelled": skip}
        return int(self.post(f"/api/tasks/{task_id}/annotations/", wanted)["id"])

    def upload(self, images: Sequence[Path]) -> list[int]:
        """Upload images as tasks; return the new tasks' ids."""
        before = set(self.truth)
        upload_images(self.http, self.project_id, images)
        self.truth = _truth(self.http, self.project_id)
        return sorted(set(self.truth) - before)


def wait_until(true: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until something is true. Fails, naming it, where that takes too long."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.05)


def digit_images(folder: Path) -> list[Path]:
    """Draw the digits; return them mixed, the same way each time."""
    write_digits(folder)
    return sorted(folder.glob("*/*.png"), key=lambda file: file.name)


@contextmanager
def running_label_studio(folder: Path) -> Iterator[LocalLabelStudio]:
    """A Label Studio of the test's own, since it will be killed."""
    folder.mkdir()
    server = LocalLabelStudio(
        _executable(), folder, free_port(), password=PASSWORD, token=LEGACY_TOKEN
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """Label Studio with users and tasks, serve and train; not connected yet."""
    with ExitStack() as stack:
        server = stack.enter_context(running_label_studio(folder / "label-studio"))
        admin = (server.username, PASSWORD)
        for name in ANNOTATORS:
            create_user(server.url, admin, name, PASSWORD, first_name=name.split("@")[0])
        headers = {"Authorization": f"Token {LEGACY_TOKEN}"}
        http = httpx.Client(base_url=server.url, headers=headers, timeout=60)
        stack.enter_context(http)
        project_id = create_project(http, "Handwritten digits", LABEL_CONFIG)
        upload_images(http, project_id, digit_images(folder / "digits")[:TASKS])
        made = Stack(
            folder,
            server,
            http,
            project_id,
            _truth(http, project_id),
            _environment(folder, server, mint_personal_access_token(server.url, *admin)),
        )
        stack.callback(lambda: made.serve.stop())
        stack.callback(lambda: made.train.kill())
        made.start_serving()
        made.train.start()
        yield made


def renew_token(server: LocalLabelStudio, old: str) -> str:
    """Revoke a personal access token, as its owner; return nothing that the backend has seen."""
    with signed_in(server.url, server.username, PASSWORD) as client:
        _checked(client.post("/api/token/blacklist/", json={"refresh": old}))
        return str(_checked(client.post("/api/token/", json={}))["token"])


def _environment(folder: Path, server: LocalLabelStudio, token: str) -> dict[str, str]:
    return base_environment(
        LABEL_STUDIO_URL=server.url,
        LABEL_STUDIO_API_KEY=token,
        MODEL_DIR=folder / "model-dir",
        PORT=free_port(),
        ACTIVE_LABELER_DEVICE="cpu",
        # No download, and quick: these tests are about the loop, not about accuracy.
        ACTIVE_LABELER_BACKBONE="scratch",
        ACTIVE_LABELER_WINDOW=WINDOW,
        ACTIVE_LABELER_FRONT=FRONT,
        ACTIVE_LABELER_RECONCILE_S=RECONCILE_S,
        LOG_LEVEL="INFO",
    )


def _truth(http: httpx.Client, project_id: int) -> dict[int, str]:
    """Read which digit each task shows out of its uploaded file's name."""
    answer = http.get(
        "/api/tasks",
        params={
            "project": project_id,
            "fields": "task_only",
            "include": "id,data",
            "page_size": 500,
            "resolve_uri": "false",
        },
    )
    digits = _digit_of()
    number = -1  # .../upload/1/1a2b3c4d-digit-0042.png
    return {
        task["id"]: digits[int(Path(task["data"]["image"]).stem.split("-")[number])]
        for task in _checked(answer)["tasks"]
    }


def _digit_of() -> list[str]:
    from sklearn.datasets import load_digits

    return [str(digit) for digit in load_digits().target]


def _checked(answer: httpx.Response) -> Any:
    assert answer.is_success, f"{answer.request.url}: {answer.status_code} {answer.text[:500]}"
    return answer.json() if answer.content else None


def screenshots_folder(default: Path) -> Path:
    """Where screenshots go: $E2E_SCREENSHOTS, or a folder of the test's own."""
    folder = Path(os.environ.get("E2E_SCREENSHOTS") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
