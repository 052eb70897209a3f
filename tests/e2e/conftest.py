"""One stack for all scenarios: starting everything takes half a minute.

Whichever module comes first finds the project connected; each leaves the stack settled and right,
and the one that detaches connects again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.runs import IMAGES_A_CLASS
from tests.e2e.stack import Stack, running_stack, screenshots_folder
from tests.e2e.strangers import inventory, plant, their_backend
from tests.few_digits import few_digits as write_few_digits


@pytest.fixture(scope="session")
def bare_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Label Studio, serve and train, and 120 digits in a project that only others have touched."""
    with (
        their_backend() as url,
        running_stack(tmp_path_factory.mktemp("stack")) as stack,
    ):
        plant(stack, url)
        yield stack


@pytest.fixture(scope="session")
def before_us(bare_stack: Stack) -> dict[str, Any]:
    """The project as others left it."""
    return inventory(bare_stack)


@pytest.fixture(scope="session")
def connected(bare_stack: Stack, before_us: dict[str, Any]) -> Any:
    """What the first `active-labeler connect` answered."""
    return bare_stack.about("connect", "--backend-url", bare_stack.backend_url)


@pytest.fixture
def stack(bare_stack: Stack, connected: Any) -> Stack:
    """The stack, with the project connected."""
    return bare_stack


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of what annotators see are kept, for people to look at."""
    return screenshots_folder(tmp_path_factory.mktemp("screenshots"))


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few digits, one subfolder a class."""
    return write_few_digits(tmp_path_factory.mktemp("digits"), IMAGES_A_CLASS)
