"""The Celery app. Owns queues, routing and beat's scheduler; the tasks themselves live in `workers`.

Reads acknowledge early and recover by claim expiry, so nothing here waits for a visibility timeout.
"""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import setup_logging
from kombu.entity import Queue

from hes.env import stop_on_setting_error

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hes.settings")
# checks are for deployment; in each worker they cost the import of everything that the URLs name
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
with stop_on_setting_error():
    from hes import settings

app = Celery("hes", broker=settings.HES_BROKER_URL, include=["workers.tasks"])
app.conf.update(
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_pool="threads",
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_queues=[Queue("reads"), Queue("commands")],  # type: ignore[no-untyped-call]
    task_default_queue="reads",
    task_create_missing_queues=False,
    task_routes={"reads.*": {"queue": "reads"}, "commands.*": {"queue": "commands"}},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"visibility_timeout": 3600, "socket_keepalive": True},
    beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
    beat_max_loop_interval=settings.HES_BEAT_MAX_INTERVAL_S,
    timezone="UTC",
    enable_utc=True,
)


@setup_logging.connect
def _leave_logging_alone(**_: object) -> None:
    """Django's LOGGING_CONFIG has set it up; Celery would replace the handlers."""
