"""The package's own page: what it shows runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategies import rank
from strategies.query import Query
from tests.unit.strategies.pools import blobs

PAGE = Path(__file__).parents[3] / "strategies" / "README.md"


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Return what the snippets leave behind, run one after another as a reader would."""
    names: dict[str, Any] = {}
    for snippet in snippets():
        exec(compile(snippet, str(PAGE), "exec"), names)
    return names


def test_ten_lines_learn_digits(page: dict[str, Any]) -> None:
    assert len(page["labeled"]) == 100
    assert len(set(page["labeled"].tolist())) == 100
    rest = page["pool"]
    assert page["model"].score(page["X"][rest] / 16, page["y"][rest]) > 0.85


def test_use_takes_ten_lines_and_a_strategy_twenty() -> None:
    use, add = snippets()
    code = [line for line in use.splitlines() if line and not line.startswith(("import", "from"))]
    assert len(code) <= 10
    assert len([line for line in add.splitlines() if line]) <= 22


def test_strategy_of_the_page_ranks_without_being_in_the_table(page: dict[str, Any]) -> None:
    candidates, labeled = blobs(40)
    rng = np.random.default_rng(0)
    ranking = rank(page["row"], candidates, labeled, head=5, rng=rng, beta=2.0)
    query = Query(candidates, labeled, 5, rng)
    assert ranking.order.tolist() == page["rarest_class"](query, beta=2.0).rows_K.tolist()
    assert ranking.strategy == "rarest_class"


def test_every_module_of_the_table_exists() -> None:
    named = re.findall(r"`(\w+\.py)`", PAGE.read_text())
    missing = [name for name in named if not any(PAGE.parents[1].rglob(name))]
    assert missing == []
