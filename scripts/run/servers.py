"""The servers of a run: a Label Studio of its own where wanted, the backend, and the trainer.

Knows how they are started, watched and ended. Knows no data and no labels.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.settings import Settings, load_settings
from scripts.child_processes import (
    Child,
    listen,
    require_port,
    running,
    usable_port,
    wait_until_it_answers,
)
from scripts.label_studio_content import create_user, mint_personal_access_token, signed_in
from scripts.local_label_studio import LabelStudioDidNotStart, LocalLabelStudio, find_label_studio
from scripts.run.config import LOCAL
from scripts.run.guardian import Guardian
from scripts.run.in_force import Run, environment_of, given_settings, settings_of
from scripts.run.memory import ANNOTATOR, USERNAME, RunMemory, remember

BACKBONE_VARIABLE = "ACTIVE_LABELER_BACKBONE"
PORTS_TRIED = 5


@dataclass
class Servers:
    """What runs for a run, and what it takes to reach it."""

    run: Run
    memory: RunMemory
    everything: ExitStack
    guardian: Guardian
    lock: int
    console: Console
    document_root: Path | None = None  # of a local Label Studio
    url: str = ""
    own: dict[str, Any] = field(default_factory=dict)  # settings that the run decides
    backend: ExitStack = field(default_factory=ExitStack)  # serve and train

    @property
    def local(self) -> bool:
        """Whether Label Studio is the run's own."""
        return self.run.config.project.label_studio == LOCAL

    def remember(self) -> None:
        """Keep what is known now for the next start."""
        remember(self.run.folder, self.memory)

    def start_label_studio(self) -> None:
        """Start the run's own Label Studio with its two accounts, or take the one that is named."""
        if not self.local:
            self.url = self.run.config.project.label_studio
            return
        memory = self.memory
        begun = bool(memory.access_token)  # the project is known by the port's address
        if begun:
            require_port(memory.label_studio_port)
        for _ in range(1 if begun else PORTS_TRIED):
            if not begun:
                wanted = self.run.config.project.label_studio_port
                memory.label_studio_port = self._port("Label Studio", wanted)
            if self._start_own():
                self._accounts()
                return
        raise LabelStudioDidNotStart(
            f"port {memory.label_studio_port} was taken by another program while it started"
        )

    def _start_own(self) -> bool:
        """Start Label Studio; return whether the port is really its own.

        It takes seconds to get there. Where somebody was faster it ends, or moves on to another
        port and tells nobody, while theirs answers.
        """
        memory = self.memory
        studio = LocalLabelStudio(
            executable=find_label_studio(),
            data_dir=self.run.folder / "label-studio",
            port=memory.label_studio_port,
            username=USERNAME,
            password=memory.password,
            legacy_tokens=False,
            bulk_import=True,
            document_root=self.document_root,
            lock=self.lock,
        )
        self.remember()  # the password, before an account has it
        self.url = studio.url
        with ExitStack() as started:
            started.callback(studio.stop)
            try:
                with self.console.status("Label Studio starts (about a minute the first time) ..."):
                    studio.start(on_start=self._watch)
            except LabelStudioDidNotStart:
                if usable_port(studio.port) == studio.port:
                    raise  # nobody took it
                return False
            if not lets_in(studio.url, USERNAME, memory.password):
                return False
            self.everything.push(started.pop_all())
        return True

    def settings(self) -> Settings:
        """Return the backend's settings, without its port yet, and note which its processes get."""
        own: dict[str, Any] = {
            "label_studio_url": self.url,
            "model_dir": self.run.folder / "backend",
        }
        if self.local:
            own["label_studio_api_key"] = self.memory.access_token
            own["basic_auth_user"] = USERNAME
            own["basic_auth_pass"] = self.memory.password
        if self.document_root is not None:
            own["local_files_root"] = self.document_root
        self.own = own | backbone_of(self.run, own, self.memory, self.console)
        self.remember()
        return settings_of(self.run, **self.own)

    def start_backend(self, settings: Settings) -> tuple[Settings, tuple[Child, Child]]:
        """Start serve and train; return the settings with their port, and both processes.

        The socket is made here: between a look for a free port and the backend's own bind, another
        run could take the port, and would then be taken for this one's backend.
        """
        self.everything.enter_context(self.backend)
        wanted = self.memory.backend_port or self.run.config.project.backend_port
        with listen(settings.host, wanted) as door:
            port, descriptor = int(door.getsockname()[1]), door.fileno()
            self._tell("The backend", wanted, port)
            self.memory.backend_port = self.own["port"] = port
            self.remember()
            settings = settings.model_copy(update={"port": port})
            environment = self.environment(settings)
            words = ["serve", "--descriptor", str(descriptor)]
            backend = self._child("backend", words, environment, descriptor)
        wait_until_it_answers(backend, f"http://127.0.0.1:{port}/health")
        return settings, (backend, self._child("trainer", ["train"], environment))

    def stop_backend(self) -> None:
        """End serve and train, and leave Label Studio running."""
        self.backend.close()

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return the environment in which a child reads the run's settings."""
        return environment_of(settings, {**given_settings(self.run), **self.own})

    def _watch(self, process_group: int) -> None:
        self.guardian.watch(process_group)
        os.write(self.lock, f"{process_group}\n".encode())

    def _child(
        self, name: str, words: list[str], environment: dict[str, str], *descriptors: int
    ) -> Child:
        watch = self.guardian.watch
        return self.backend.enter_context(
            running(name, words, self.run.folder, environment, self.lock, watch, descriptors)
        )

    def _accounts(self) -> None:
        memory = self.memory
        if not memory.access_token:
            memory.access_token = mint_personal_access_token(self.url, USERNAME, memory.password)
            self.remember()
        if not memory.annotator_made:
            admin = (USERNAME, memory.password)
            create_user(self.url, admin, ANNOTATOR, memory.annotator_password, "Annotator")
            memory.annotator_made = True
            self.remember()

    def _port(self, name: str, wanted: int) -> int:
        port = usable_port(wanted)
        self._tell(name, wanted, port)
        return port

    def _tell(self, name: str, wanted: int, port: int) -> None:
        if port != wanted:
            self.console.print(f"Port {wanted} is taken: {name} listens on {port}.")


def lets_in(url: str, username: str, password: str) -> bool:
    """Whether a Label Studio that knows this login answers there."""
    try:
        with signed_in(url, username, password):
            return True
    except (PermissionError, LookupError, httpx.HTTPError):  # another one, or no Label Studio
        return False


def backbone_of(
    run: Run, own: dict[str, Any], memory: RunMemory, console: Console
) -> dict[str, str]:
    """Return the backbone as a setting, {} where one was asked for.

    Where the default's weights cannot be had, it is `scratch`, and that is said. The first start
    decides, for embeddings of two networks cannot be compared.
    """
    asked = "backbone" in run.config.model.model_fields_set or BACKBONE_VARIABLE in os.environ
    if asked or "weights" in run.config.model.model_fields_set:
        return {}
    if not memory.backbone:
        memory.backbone = choose_backbone(settings_of(run, **own), console)
    return {"backbone": memory.backbone}


def choose_backbone(settings: Settings, console: Console) -> str:
    """Return the configured backbone, or `scratch` where its pretrained weights cannot be had."""
    from ml_backend.learning.backbones import load_backbone  # torch takes seconds to import

    try:
        with console.status(f"Loading {settings.backbone} ..."):
            load_backbone(settings.backbone, settings.weights, settings.device, seed=settings.seed)
    except WeightsUnavailable as error:
        console.print(
            f"[bold]No pretrained weights:[/bold] {error}\n"
            "This goes on with [bold]scratch[/bold], a small network trained from scratch on the "
            "project's own images, without labels. A pretrained one is better on photographs."
        )
        return "scratch"
    return settings.backbone


def require_token(run: Run, *, oracle: bool) -> None:
    """Raise ConfigurationError early for what a Label Studio that is not ours does not allow."""
    if run.config.project.label_studio == LOCAL:
        return
    if oracle:
        raise ConfigurationError(
            "--oracle labels in a local Label Studio alone (project.label_studio: local): what it "
            "answers is no person's work"
        )
    if not load_settings().label_studio_api_key.get_secret_value():
        raise ConfigurationError(
            "LABEL_STUDIO_API_KEY is not set: create a personal access token in "
            f"{run.config.project.label_studio} under Account & Settings, and put it into the "
            "environment"
        )
