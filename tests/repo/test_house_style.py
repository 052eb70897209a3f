"""The limits of the house style that a machine can see."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.repo.sources import ROOT, Source, sources

LINES_A_MODULE = 350
LINES_A_FUNCTION = 40  # without its docstring
NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
# Where one bad request, round or command must end neither the process nor in a traceback.
EDGES = {"ml_backend/web/app.py", "ml_backend/jobs/trainer.py", "scripts/active_labeler.py"}


def nodes(*kinds: type[ast.AST]) -> Iterator[tuple[Source, ast.AST]]:
    """Walk every file for syntax of these kinds, but for migrations, which tools write."""
    for source in sources():
        if "/migrations/" not in source.path:
            yield from ((source, node) for node in ast.walk(source.tree) if isinstance(node, kinds))


def place(source: Source, node: ast.AST) -> str:
    return f"{source.path}:{getattr(node, 'lineno', 1)}"


def test_every_module_says_what_it_knows() -> None:
    wrong = [s.path for s in sources() if s.text.strip() and not ast.get_docstring(s.tree)]
    assert not wrong


def test_modules_stay_small() -> None:
    sizes = {source.path: source.text.count("\n") for source in sources()}
    assert not {path: lines for path, lines in sizes.items() if lines > LINES_A_MODULE}


def test_functions_stay_small() -> None:
    wrong = {}
    for source, node in nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        statements = node.body[ast.get_docstring(node) is not None :]
        lines = (node.end_lineno or 0) - statements[0].lineno + 1 if statements else 0
        if lines > LINES_A_FUNCTION:
            wrong[place(source, node)] = f"{node.name}: {lines} lines"
    assert not wrong


def test_a_module_is_named_by_what_it_knows() -> None:
    wrong = [
        source.path
        for source in sources()
        if NAMES_THAT_SAY_NOTHING & set(source.module.replace("_", ".").split("."))
    ]
    assert not wrong


def test_a_broad_except_stands_at_an_edge_or_raises_again() -> None:
    wrong = []
    for source, node in nodes(ast.ExceptHandler):
        assert isinstance(node, ast.ExceptHandler)
        caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {}
        broad = node.type is None or {"Exception", "BaseException"} & set(caught)
        if broad and source.path not in EDGES and not isinstance(node.body[-1], ast.Raise):
            wrong.append(place(source, node))
    assert not wrong


def test_nothing_is_pickled_or_unpickled() -> None:
    imported = [
        f"{source.path} imports {name}"
        for source in sources()
        for name in source.imports()
        if name.split(".")[0] in {"cloudpickle", "dill", "shelve", "marshal"}
    ]
    picklers = {"load", "loads", "dump", "dumps", "Pickler", "Unpickler", "Memory"}
    used = [
        place(source, node)
        for source, node in nodes(ast.Attribute)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in {"pickle", "joblib"}
        and node.attr in picklers
    ]
    by_name = {f"{module}.{name}" for module in ("pickle", "joblib") for name in picklers}
    assert not imported + used + [s.path for s in sources() if s.imports() & by_name]


def test_only_settings_and_scripts_read_the_environment() -> None:
    wrong = [
        place(source, node)
        for source, node in nodes(ast.Attribute)
        if ast.unparse(node) in {"os.environ", "os.getenv", "os.putenv"}
        and source.path != "ml_backend/settings.py"
        and source.path.startswith(("ml_backend", "strategies"))
    ]
    assert not wrong


def test_the_files_that_are_exempt_exist() -> None:
    assert not [edge for edge in EDGES if not (ROOT / edge).exists()]
