"""How gunicorn serves the app; every value may be overridden on gunicorn's command line.

One process with threads: requests wait for the database and not for a CPU, and training runs in a
process of its own. Never preload: a process forked after CUDA was touched cannot use it.
"""

from __future__ import annotations

from ml_backend.settings import load_settings

_settings = load_settings()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads
worker_class = "gthread"
preload_app = False
control_socket_disable = True  # nobody here speaks to it, and it wants a writable home

timeout = 120  # silence of a whole worker; Label Studio waits 100 s for /predict
graceful_timeout = 30
keepalive = 5

limit_request_line = 2048
limit_request_fields = 50
limit_request_field_size = 8190

loglevel = _settings.log_level.lower()
errorlog = "-"
# The path without its query, and no header: neither can carry a secret into the log.
accesslog = "-" if _settings.log_level == "DEBUG" else None
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'
