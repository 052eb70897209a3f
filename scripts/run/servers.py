"""The servers of a run: a Label Studio of its own where wanted, the backend, and the trainer.

Knows how they are started, watched and ended. Knows no data and no labels.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ml_backend.errors import ConfigurationError, WeightsUnavailable
from ml_backend.settings import Settings, load_settings
from scripts.child_processes import (
    Child,
    require_port,
    running,
    usable_port,
    wait_until_it_answers,
)
from scripts.local_label_studio import (
    LocalLabelStudio,
    create_user,
    find_label_studio,
    mint_personal_access_token,
)
from scripts.run.config import LOCAL
from scripts.run.guardian import Guardian
from scripts.run.in_force import Run, environment_of, given_settings, settings_of
from scripts.run.memory import ANNOTATOR, USERNAME, RunMemory, remember

BACKBONE_VARIABLE = "ACTIVE_LABELER_BACKBONE"


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
        if memory.label_studio_port:
            require_port(memory.label_studio_port)  # the project is known by its address
        else:
            wanted = self.run.config.project.label_studio_port
            memory.label_studio_port = self._port("Label Studio", wanted)
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
        self.everything.callback(studio.stop)
        with self.console.status("Label Studio starts (about a minute the first time) ..."):
            studio.start(on_start=self._watch)
        self.url = studio.url
        self._accounts()

    def settings(self) -> Settings:
        """Return the backend's settings, and note which of them its processes must be told."""
        self.memory.backend_port = self._port(
            "The backend", self.memory.backend_port or self.run.config.project.backend_port
        )
        own: dict[str, Any] = {
            "label_studio_url": self.url,
            "model_dir": self.run.folder / "backend",
            "port": self.memory.backend_port,
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

    def start_backend(self, settings: Settings) -> tuple[Child, Child]:
        """Start serve and train; return both processes."""
        environment = self.environment(settings)
        backend = self._child("backend", ["serve"], environment)
        wait_until_it_answers(backend, f"http://127.0.0.1:{settings.port}/health")
        return backend, self._child("trainer", ["train"], environment)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Return the environment in which a child reads the run's settings."""
        return environment_of(settings, {**given_settings(self.run), **self.own})

    def _watch(self, process_group: int) -> None:
        self.guardian.watch(process_group)
        os.write(self.lock, f"{process_group}\n".encode())

    def _child(self, name: str, words: list[str], environment: dict[str, str]) -> Child:
        return self.everything.enter_context(
            running(
                name, words, self.run.folder, environment, self.lock, on_start=self.guardian.watch
            )
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
        if port != wanted:
            self.console.print(f"Port {wanted} is taken: {name} listens on {port}.")
        return port


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
