"""What the pages work with: a key for all workers, pictures through the store, no torch."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ml_backend import wiring
from ml_backend.errors import ConfigurationError, ImageUnreadable
from ml_backend.learning.embeddings import content_hash
from ml_backend.records import Task
from ml_backend.settings import Settings
from ml_backend.thumbnails import Thumbnails
from ml_backend.wiring.pages import KEY_FILE, session_key, thumbnail_of
from tests.unit.test_thumbnails import png
from tests.unit.web.builders import NOW, SECRET, project


def settings(folder: Path) -> Settings:
    url = "http://127.0.0.1:9"  # nothing listens there
    return Settings(model_dir=folder, label_studio_url=url, label_studio_api_key="x" * 40)


def test_all_workers_get_the_same_key_which_others_cannot_read(tmp_path: Path) -> None:
    keys: list[bytes] = []
    workers = [
        threading.Thread(target=lambda: keys.append(session_key(tmp_path / "new")))
        for _ in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    [key] = set(keys)
    assert len(key) == 32
    assert len(keys) == 8
    assert stat.S_IMODE((tmp_path / "new" / KEY_FILE).stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "new").iterdir()] == [KEY_FILE]
    assert session_key(tmp_path / "other") != key


def test_a_key_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ConfigurationError, match=KEY_FILE):
        session_key(tmp_path)


def test_a_thumbnail_is_of_a_task_that_can_be_read(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    store = wiring.open_store(chosen)
    store.save_project(project(7, SECRET))
    store.upsert_tasks(7, [Task(1, "/data/upload/1.png"), Task(2, "/data/upload/2.png")])
    store.set_unreadable(7, {2: "The file is empty."}, NOW)
    data = png(20, 20)
    small = Thumbnails(tmp_path / "thumbnails", 10**6).of(None, lambda: data)
    store.set_content_hashes(7, {1: content_hash(data)})
    thumbnail = thumbnail_of(chosen, store)
    assert thumbnail(7, 1) == small  # Label Studio is not asked for what is kept
    with pytest.raises(ImageUnreadable, match="empty"):
        thumbnail(7, 2)
    for unknown in ((7, 3), (8, 1)):
        with pytest.raises(LookupError):
            thumbnail(*unknown)
    store.close()


def test_the_pages_load_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from ml_backend import wiring; from ml_backend.wiring import pages;"
        "from ml_backend.settings import Settings;"
        "from ml_backend.web.app import create_app;"
        "s = Settings(model_dir=Path(sys.argv[1]), label_studio_api_key='x');"
        "app = create_app(pages.with_pages(s, wiring.web_services(s)));"
        "assert app.test_client().get('/ui/').status_code == 403;"
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
