"""Finds a Chromium for the browser tests, installs one where it may, and prints its path.

The order: $CHROMIUM, a Chromium or Chrome on PATH, Debian's package (as root on Debian),
playwright's own download. Prints nothing, and ends with 0, where there is none and it is not CI.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL_TIMEOUT_S = 600.0


def main() -> int:
    """Print the path; 1 where CI needs a browser and there is none."""
    path = find() or _install()
    if path is None and os.environ.get("CI"):
        print("No Chromium, and none could be installed: set CHROMIUM.", file=sys.stderr)
        return 1
    print(path or "")
    return 0


def find() -> str | None:
    """Look for a browser that is there already; $CHROMIUM must exist where it is set."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).is_file():
            raise SystemExit(f"CHROMIUM={named!r}: there is no such file")
        return named
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> str | None:
    if os.geteuid() == 0 and _is_debian():
        print("Installing Debian's chromium ...", file=sys.stderr)
        if _ran(["apt-get", "update", "-qq"]) and _ran(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
        ):
            return find()
    print("Downloading playwright's chromium ...", file=sys.stderr)
    if _ran([sys.executable, "-m", "playwright", "install", "chromium"]):
        return _playwright_chromium()
    return None


def _is_debian() -> bool:
    # Ubuntu's package of the same name is a stub that wants snapd.
    try:
        return platform.freedesktop_os_release().get("ID") == "debian"
    except OSError:
        return False


def _ran(command: list[str]) -> bool:
    """Run a command with its output on standard error; whether it succeeded."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        ended = subprocess.run(  # noqa: S603 (lists of our own making)
            command, env=environment, stdout=sys.stderr, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        print(f"{' '.join(command)}: no end within {INSTALL_TIMEOUT_S:.0f} s", file=sys.stderr)
        return False
    return ended.returncode == 0


def _playwright_chromium() -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


if __name__ == "__main__":
    sys.exit(main())
