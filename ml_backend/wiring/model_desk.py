"""What the models' commands and pages do with a project's models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend import wiring
from ml_backend.errors import ConfigurationError
from ml_backend.jobs.store import ConnectedProject, ModelRecord, Store
from ml_backend.learning.model_card import ModelCard
from ml_backend.learning.model_comparison import compare
from ml_backend.settings import Settings
from ml_backend.wiring.backbone_shelf import Backbones, registry_of

if TYPE_CHECKING:
    from ml_backend.learning.backbones import Backbone
    from ml_backend.learning.head import Head
    from ml_backend.steps.workbench import Workbench

PRETRAINED = "pretrained"  # the configured backbone, in the place of a model's name


class ModelDesk:
    """The models of one project."""

    def __init__(self, settings: Settings, store: Store, project_id: int) -> None:
        self.store = store
        self._settings = settings
        self._project_id = project_id
        self._registry = registry_of(settings, project_id)
        self._backbones = Backbones(settings)

    def rows(self) -> list[dict[str, Any]]:
        """List the configured backbone and all models, oldest first, each as JSON-able facts."""
        states = {record.model: record for record in self.store.models(self._project_id)}
        in_force = self._project().model
        first = _row(PRETRAINED, "champion" if in_force is None else "", None, None)
        first["note"] = f"{self._settings.backbone}, as configured"
        listed = [first]
        for name in self._registry.names():
            card = self._registry.card(name)
            listed.append(_row(name, _state(card, states.get(name)), card, states.get(name)))
        return listed

    def card(self, model: str) -> dict[str, Any]:
        """Return a model's card. Raises UnknownModel, CorruptFile."""
        return dataclasses.asdict(self._registry.card(self._named(model)))

    def compare(self, first: str, second: str) -> dict[str, Any]:
        """Put two cards side by side. Raises UnknownModel, CorruptFile."""
        one, other = (self._registry.card(self._named(name)) for name in (first, second))
        return compare(one, other)

    def before(self) -> str:
        """Name the model that was in force before. Raises ConfigurationError where none was."""
        kept = set(self._registry.names())
        records = self.store.models(self._project_id)
        retired = [r for r in records if r.state == "retired" and r.model in kept]
        if self._project().model is None and not retired:
            raise ConfigurationError(
                f"project {self._project_id} has had one model only: the configured backbone"
            )
        latest = max(retired, key=lambda record: record.changed_at, default=None)
        return latest.model if latest else PRETRAINED

    def put_in_force(
        self, model: str, why: str, on_progress: Callable[[str, int, int], None]
    ) -> None:
        """Embed the pool by a model and switch to it; the next round orders the queue by it."""
        from ml_backend.steps.adopting import put_in_force

        bench, backbone = self._bench(), self._backbone(model)
        put_in_force(
            bench,
            None if model == PRETRAINED else model,
            why,
            backbone,
            self._backbones.cache_of(backbone),
            lambda done, total: on_progress("embedding images", done, total),
        )

    def export(self, model: str, target: Path, form: str) -> dict[str, Any]:
        """Write pictures → probabilities as one file, checked. Returns what was found."""
        from ml_backend.learning.export import export_model

        name = self._named(model) if model not in ("current", PRETRAINED) else model
        current = self._project().model or PRETRAINED
        wanted = current if name == "current" else name
        backbone = self._backbone(wanted)
        classes = self._project().control.classes
        exported = export_model(backbone, self._head(wanted, backbone), classes, target, form)
        return dataclasses.asdict(exported)

    def _head(self, model: str, backbone: Backbone) -> Head:
        """Return the last round's head where this model made it, else one fitted now."""
        from ml_backend.steps.embed import embed_beside
        from ml_backend.steps.examples import now_labeled
        from ml_backend.steps.learn import fit_beside

        results = wiring.last_results(self._settings)(self._project_id)
        if results is not None and results.backbone_key == backbone.key and results.head:
            return results.head
        bench, cache = self._bench(), self._backbones.cache_of(backbone)
        labeled = now_labeled(bench, bench.project.control).labeled_ids_M.tolist()
        embed_beside(bench, backbone, cache, labeled, lambda _done, _total: None)
        situation = now_labeled(bench, bench.project.control, cache.has)
        learned_from = self._backbones.learned_from(
            self._project_id, None if model == PRETRAINED else model
        )
        head = fit_beside(bench, situation, cache, learned_from)
        if head is None:
            raise ConfigurationError(f"project {self._project_id} has no label to fit a head on")
        return head

    def _backbone(self, model: str) -> Backbone:
        if model == PRETRAINED:
            return self._backbones.of(self._project_id, lambda: iter(()))
        return self._backbones.fine_tuned(self._project_id, model)[0]

    def _bench(self) -> Workbench:
        factory = wiring.workbench_factory(self._settings, self.store, backbones=self._backbones)
        return factory(self._project_id, lambda: None)

    def _named(self, model: str) -> str:
        """Return the full name of a model that is named in full or by its number alone."""
        names = self._registry.names()
        if model in names:
            return model
        numbered = [name for name in names if model.isdecimal() and int(name[:4]) == int(model)]
        return numbered[0] if numbered else model

    def _project(self) -> ConnectedProject:
        project = self.store.get_project(self._project_id)
        assert project is not None  # the command has looked
        return project


def _state(card: ModelCard, record: ModelRecord | None) -> str:
    if card.kind == PRETRAINED:
        return "base"
    return record.state if record else "challenger"


def _row(
    model: str, state: str, card: ModelCard | None, record: ModelRecord | None
) -> dict[str, Any]:
    return {
        "model": model,
        "state": state,
        "kind": card.kind if card else PRETRAINED,
        "parent": card.parent if card else None,
        "created_at": card.created_at if card else None,
        "trained_on": card.n_trained if card else 0,
        "accuracy": card.holdout_accuracy() if card else None,
        "note": record.note if record else "",
    }
