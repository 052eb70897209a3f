"""Arrows point one way: scripts, wsgi, trainer → wiring → rounds → … → settings, errors."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter

from tests.repo.sources import Source, sources

GROUND = {"settings", "errors", "records", "legible"}
ADAPTERS = {"labelstudio", "learning", "strategies", "store", "sources"}
STORY = GROUND | ADAPTERS | {"steps"}
# What each part may import of the others. A part that is missing here is a failure.
ALLOWED: dict[str, set[str]] = {
    "settings": {"errors", "network_settings", "round_settings"},
    "round_settings": {"network_settings"},
    "network_settings": set(),
    "errors": set(),
    "records": set(),
    "appraisal_file": {"errors"},
    **dict.fromkeys(ADAPTERS, GROUND),
    "appraisal": GROUND | {"learning"},
    "legible": set(),
    "charts": {"legible"},
    "web": GROUND | {"store", "charts"},
    "steps": STORY | {"appraisal"},
    "lookup": STORY,
    "explaining": STORY | {"lookup"},
    "rounds": STORY | {"lookup"},
    "appraise": STORY | {"lookup", "appraisal", "appraisal_file"},
    "predicting": STORY | {"lookup"},
    "connecting": STORY,
    "fine_tune": STORY,
    "exporting": GROUND,
    "export_labels": STORY | {"exporting"},
    "diagnosis": STORY,
    "wiring": STORY
    | {"rounds", "lookup", "explaining", "predicting", "connecting", "diagnosis", "web", "trainer"}
    | {"appraise", "appraisal_file", "fine_tune", "thumbnails", "importing", "project_source"}
    | {"export_labels", "exporting"},
    "thumbnails": GROUND | {"learning"},
    "searching": STORY,
    "simulation": GROUND | {"learning", "strategies", "charts", "legible"},
    "gathering": GROUND | {"learning", "simulation"},
    "project_labels": STORY | {"gathering", "project_source"},
    "simulating": GROUND | {"gathering", "simulation"},
    "importing": STORY,
    "project_source": GROUND | {"labelstudio", "sources"},
    "model": GROUND | {"wiring", "web"},
    "trainer": STORY | {"rounds", "wiring"},
    "wsgi": GROUND | {"wiring", "web"},
}
# Who may know a library that shapes everything around it.
HOMES = {
    "torch": ("ml_backend.learning", "strategies.device"),
    "torchvision": ("ml_backend.learning", "ml_backend.sources.torchvision_sets"),
    "fsspec": ("ml_backend.sources",),
    "datasets": ("ml_backend.sources",),
    "tensorflow_datasets": ("ml_backend.sources",),
    "label_studio_sdk": ("ml_backend.labelstudio",),
    "label_studio_ml": ("ml_backend.model",),
    "flask": ("ml_backend.web",),
    "matplotlib": ("ml_backend.charts",),
    "sqlalchemy": ("ml_backend.jobs",),
    "alembic": ("ml_backend.jobs",),
}


def part(module: str) -> str | None:
    """Name the part of the layout that a module of ours belongs to; None for everything else."""
    names = module.split(".")
    if names[0] != "ml_backend":
        return "strategies" if names[0] == "strategies" else None
    if names[1:2] == ["jobs"]:
        return "trainer" if names[2:3] == ["trainer"] else "store"
    if names[1:3] == ["web", "wsgi"]:
        return "wsgi"
    return names[1] if len(names) > 1 and not names[1].startswith("__") else None


def inner_sources() -> list[Source]:
    """Everything but scripts and benchmarks, which lie outside and may import all."""
    return [source for source in sources() if part(source.module)]


def test_a_module_imports_only_what_lies_further_inside() -> None:
    wrong = []
    for source in inner_sources():
        here = str(part(source.module))
        imported = {found for name in source.imports() if (found := part(name))} - {here}
        wrong += [f"{source.path} imports {name}" for name in imported - ALLOWED.get(here, set())]
    assert not wrong


def test_nothing_inside_imports_what_lies_outside() -> None:
    outside = {"scripts", "benchmarks", "tests"}
    wrong = [
        f"{source.path} imports {name}"
        for source in inner_sources()
        for name in source.imports()
        if name.split(".")[0] in outside
    ]
    assert not wrong


def test_each_library_that_shapes_things_has_one_package_that_knows_it() -> None:
    wrong = [
        f"{source.path} imports {name}"
        for source in inner_sources()
        for name in source.imports()
        if not source.module.startswith(HOMES.get(name.split(".")[0], ("",)))
        and not name.startswith("sqlalchemy.exc")  # the web's edge answers a store that fails
    ]
    assert not wrong


def test_no_module_imports_itself_by_a_detour() -> None:
    modules = {source.module for source in sources()}
    packages = {module.rpartition(".")[0] for module in modules}
    imports = {
        source.module: source.imports() & (modules - packages) - {source.module}
        for source in sources()
    }
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the cycle


def test_relative_imports_are_resolved_as_python_does() -> None:
    tree = ast.parse("from . import head\nfrom ..records import Task\n")
    module = Source("ml_backend/learning/x.py", "ml_backend.learning.x", "", tree)
    assert module.imports() >= {"ml_backend.learning.head", "ml_backend.records.Task"}
    package = Source("ml_backend/learning/__init__.py", "ml_backend.learning", "", tree)
    assert package.imports() >= {"ml_backend.learning.head", "ml_backend.records.Task"}
