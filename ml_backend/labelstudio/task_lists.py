"""Ask Label Studio for lists of tasks: filters, order, pages, and only the fields that are needed.

The Data Manager's list is the one call that filters. It never asks a model for predictions and
takes no lock, unlike the calls that open a task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ml_backend.labelstudio.client import LabelStudioClient

Filter = dict[str, Any]

TASK_FIELDS = "id,data"
# `include` goes by name at every depth, so the fields of nested annotations stand beside the
# task's own.
ANNOTATION_FIELDS = "id,annotations,result,was_cancelled,ground_truth,completed_by"
# Label Studio on SQLite answers a page of 999 tasks that were uploaded as files with a 500
# ("Expression tree is too large"); pages of tasks that were imported as JSON may be larger.
TASKS_PER_PAGE = 500
IDS_PER_CALL = 100  # the ids travel in the address line, which proxies cut at some kilobytes


def where(column: str, operator: str, kind: str, value: object) -> Filter:
    """Build one condition of the Data Manager on a column of tasks."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


class TaskLists:
    """The task list of one project."""

    def __init__(
        self, client: LabelStudioClient, project_id: int, page_size: int = TASKS_PER_PAGE
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._page_size = page_size

    def pages(
        self,
        filters: Sequence[Filter] = (),
        *,
        include: str,
        nested: bool = False,
        after: int = 0,
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield the tasks that pass all `filters` and have an id above `after`, in order of id.

        Pages go by the last id seen, not by page number: a task that is deleted meanwhile would
        shift all behind it, and one would be missed. `nested` brings annotations along.
        """
        while True:
            beyond = where("id", "greater", "Number", after)
            tasks = self.first(
                [*filters, beyond],
                order="tasks:id",
                limit=self._page_size,
                include=include,
                nested=nested,
            )
            if tasks:
                yield tasks
            if len(tasks) < self._page_size:
                return
            after = tasks[-1]["id"]

    def first(
        self,
        filters: Sequence[Filter],
        *,
        order: str,
        limit: int,
        include: str,
        nested: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the first `limit` tasks that pass all `filters`, in the Data Manager's order."""
        return self._ask(filters, order, limit, include, nested)["tasks"]  # type: ignore[no-any-return]

    def count(self, filters: Sequence[Filter]) -> int:
        """Return how many tasks pass all `filters`."""
        return int(self._ask(filters, "tasks:id", 1, "id", nested=False)["total"])

    def of_ids(
        self, task_ids: Sequence[int], *, include: str, nested: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """Yield those of `task_ids` that exist in the project, up to 100 at a time."""
        for start in range(0, len(task_ids), IDS_PER_CALL):
            some = list(task_ids[start : start + IDS_PER_CALL])
            query = {"selectedItems": {"all": False, "included": some}, "ordering": ["tasks:id"]}
            yield self._get(query, len(some), include, nested)["tasks"]

    def _ask(
        self, filters: Sequence[Filter], order: str, limit: int, include: str, nested: bool
    ) -> dict[str, Any]:
        conditions = {"conjunction": "and", "items": list(filters)}
        return self._get({"filters": conditions, "ordering": [order]}, limit, include, nested)

    def _get(self, query: dict[str, Any], limit: int, include: str, nested: bool) -> dict[str, Any]:
        params = {
            "project": self._project_id,
            "query": json.dumps(query),
            "page_size": limit,
            "fields": "all" if nested else "task_only",
            "include": include,
            "resolve_uri": "false",
        }
        body: dict[str, Any] = self._client.get("/api/tasks", params)
        return body
