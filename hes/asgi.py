"""What uvicorn serves: Django, static files by whitenoise's middleware."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from hes.env import stop_on_setting_error

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hes.settings")
with stop_on_setting_error():
    import hes.settings  # noqa: F401

application = get_asgi_application()
