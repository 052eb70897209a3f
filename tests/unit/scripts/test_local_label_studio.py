"""A Label Studio of one's own, as far as no server is needed."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from scripts.local_label_studio import copy_template


def test_each_copy_has_a_secret_key_that_label_studio_reads_back(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    (template / "label_studio.sqlite3").write_bytes(b"migrated")
    (template / ".env").write_text("SECRET_KEY=$of-the-template\n")
    keys = set()
    for name in ("one", "two"):
        copy_template(template, tmp_path / name)
        assert (tmp_path / name / "label_studio.sqlite3").read_bytes() == b"migrated"
        key_file = tmp_path / name / ".env"
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        # Label Studio takes "$..." for the name of another variable.
        keys.add(re.fullmatch(r"SECRET_KEY=([0-9a-f]{64})\n", key_file.read_text()).group(1))
    assert len(keys) == 2
