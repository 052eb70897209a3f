"""What gunicorn serves: the app, with everything that wiring gives it."""

from __future__ import annotations

import logging

from ml_backend import wiring
from ml_backend.settings import load_settings
from ml_backend.web.app import create_app
from ml_backend.wiring import pages

settings = load_settings()
logging.basicConfig(
    level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
)
app = create_app(pages.with_pages(settings, wiring.web_services(settings)))
