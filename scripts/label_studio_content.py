"""Accounts, projects and tasks, made in a Label Studio through the pages and API that people use.

For runs and the tests. Knows not how the server is run.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

CALL_TIMEOUT_S = 120.0
FILES_PER_UPLOAD = 50  # Label Studio refuses more than 100 in a request (Django's own limit)


@contextlib.contextmanager
def signed_in(url: str, username: str, password: str) -> Iterator[httpx.Client]:
    """Yield a client that carries the session of `username`, as a browser would."""
    with httpx.Client(base_url=url, timeout=CALL_TIMEOUT_S, follow_redirects=True) as client:
        form = _form_token(client, "/user/login/")
        answer = client.post(
            "/user/login/",
            data={"email": username, "password": password, "csrfmiddlewaretoken": form},
            headers={"Referer": f"{url}/user/login/"},
        )
        if answer.status_code != 200 or answer.url.path == "/user/login/":  # the form again
            raise PermissionError(f"Label Studio did not sign {username} in ({answer.status_code})")
        yield client


def _form_token(client: httpx.Client, path: str) -> str:
    page = client.get(path)
    page.raise_for_status()
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    if found is None:
        raise LookupError(f"no form token on {path}")
    return found.group(1)


def mint_personal_access_token(url: str, username: str, password: str) -> str:
    """Make a personal access token. Label Studio allows each user one valid token at a time."""
    with signed_in(url, username, password) as client:
        return str(_checked(client.post("/api/token/", json={}))["token"])


def create_user(
    url: str, admin: tuple[str, str], username: str, password: str, first_name: str = ""
) -> int:
    """Make a second user in the admin's organization by its invitation link; return the id.

    `admin` is (username, password).
    """
    with signed_in(url, *admin) as client:
        invitation = client.get("/api/invite").json()["invite_url"]
    with httpx.Client(base_url=url, timeout=CALL_TIMEOUT_S, follow_redirects=True) as client:
        form = _form_token(client, invitation)
        told = {"email": username, "password": password, "first_name": first_name}
        answer = client.post(
            invitation,
            data={**told, "csrfmiddlewaretoken": form},
            headers={"Referer": f"{url}{invitation}"},
        )
        who = client.get("/api/current-user/whoami")
        if who.status_code != 200:
            raise PermissionError(f"Label Studio did not make {username} ({answer.status_code})")
        return int(who.json()["id"])


def _checked(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise ValueError(f"{answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
    return answer.json()


def create_project(client: httpx.Client, title: str, label_config: str) -> int:
    """Make an empty project with a signed-in client; return its id.

    `title` has 3 to 50 characters. Raises ValueError with Label Studio's reason.
    """
    wanted = {"title": title, "label_config": label_config}
    return int(_checked(client.post("/api/projects", json=wanted))["id"])


def upload_images(client: httpx.Client, project_id: int, images: Sequence[Path]) -> int:
    """Upload image files, each of which becomes a task; return how many tasks were made."""
    made = 0
    for start in range(0, len(images), FILES_PER_UPLOAD):
        with contextlib.ExitStack() as stack:
            files = [
                (image.name, (image.name, stack.enter_context(image.open("rb"))))
                for image in images[start : start + FILES_PER_UPLOAD]
            ]
            answer = client.post(f"/api/projects/{project_id}/import", files=files)
        made += int(_checked(answer)["task_count"])
    return made


def import_tasks(
    client: httpx.Client, project_id: int, tasks: Sequence[Mapping[str, object]]
) -> int:
    """Import tasks (`{"data": {...}}`) as they stand; return how many were made."""
    answer = client.post(f"/api/projects/{project_id}/import", json=list(tasks))
    return int(_checked(answer)["task_count"])
