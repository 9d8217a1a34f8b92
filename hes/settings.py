"""Django settings. Everything that differs between places comes from the environment, by `hes.env`.

`HES_ENV=test` has throw-away defaults for all that production must set; `.env.example` lists every variable.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dj_database_url

from hes.env import (
    REQUIRED,
    Required,
    SettingError,
    env_bool,
    env_byte_count,
    env_bytes_hex,
    env_int,
    env_list,
    env_str,
    env_url,
)

BASE_DIR = Path(__file__).resolve().parent.parent

# --- where we are
HES_ENV = env_str("HES_ENV", "production", choices=("production", "demo", "test"))
_TEST = HES_ENV == "test"


def _test_default(value: str) -> str | Required:
    return value if _TEST else REQUIRED


def _redis_url(name: str, database: int) -> str:
    """Own variable, or REDIS_URL with another database number."""
    parts = urlsplit(REDIS_URL)
    path = parts.path if parts.scheme == "unix" else f"/{database}"
    query = f"db={database}" if parts.scheme == "unix" else parts.query
    return env_url(name, urlunsplit(parts._replace(path=path, query=query)), schemes=REDIS_SCHEMES)


# --- secrets
SECRET_KEY = env_str("HES_SECRET_KEY", _test_default("test-" * 12), min_length=50)
HES_KEK = env_bytes_hex("HES_KEK", bytes(range(32)) if _TEST else REQUIRED, length=32)
HES_SYSTEM_TITLE = env_bytes_hex("HES_SYSTEM_TITLE", b"HES\0\0\0\0\1" if _TEST else REQUIRED, length=8)
if HES_ENV == "production":
    if len(set(SECRET_KEY)) < 10:
        raise SettingError("HES_SECRET_KEY", "is too weak: at least 10 different characters are needed")
    if len(set(HES_KEK)) < 10:
        raise SettingError("HES_KEK", "is too weak: at least 10 different bytes are needed")

# --- servers
REDIS_SCHEMES = ("redis", "rediss", "unix")
DATABASE_URL = env_url(
    "DATABASE_URL", _test_default("postgresql://127.0.0.1:1/hes"), schemes=("postgresql", "postgres")
)
REDIS_URL = env_url("REDIS_URL", _test_default("redis://127.0.0.1:1/0"), schemes=REDIS_SCHEMES)
HES_BROKER_URL = _redis_url("HES_BROKER_URL", 1)
HES_CACHE_REDIS_URL = _redis_url("HES_CACHE_REDIS_URL", 2)
HES_DATABASE_CONN_MAX_AGE_S = env_int("HES_DATABASE_CONN_MAX_AGE_S", 60, low=0)
try:
    _database: Any = dj_database_url.parse(
        DATABASE_URL, conn_max_age=HES_DATABASE_CONN_MAX_AGE_S, conn_health_checks=True
    )
except ValueError:
    raise SettingError("DATABASE_URL", "is not a URL of a PostgreSQL database") from None
if not _database.get("NAME"):
    raise SettingError("DATABASE_URL", "names no database")
#: a server that is cut off without a word is away after this, not when the kernel gives up
_database["OPTIONS"] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
} | _database.get("OPTIONS", {})
DATABASES = {"default": _database}

# --- web
DEBUG = env_bool("HES_DEBUG", False)
if DEBUG and HES_ENV == "production":
    raise SettingError("HES_DEBUG", "must be false in production")
ALLOWED_HOSTS = env_list("HES_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env_list("HES_CSRF_TRUSTED_ORIGINS", [])
HES_HTTPS = env_bool("HES_HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HES_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HES_HTTPS else None
SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())
X_FRAME_OPTIONS = "DENY"

ROOT_URLCONF = "hes.urls"
ASGI_APPLICATION = "hes.asgi.application"
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

INSTALLED_APPS = [
    "hes.site.OperatorSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "meters.apps.MetersConfig",
    "readings.apps.ReadingsConfig",
    "events.apps.EventsConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "hes.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "hes.api_input.length_required",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = ["hes.formats"]

STATIC_URL = "static/"
#: without it whitenoise serves straight from the packages, so that no step can be forgotten
STATIC_ROOT = env_str("HES_STATIC_ROOT", "") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None

# --- REST
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["hes.api_input.JsonBodyParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hes.api.problem_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Smart-meter head-end",
    "DESCRIPTION": "Readings, events, commands and links of the meters.",
    "VERSION": "1.0.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "MeterState": "meters.models.Meter.State",
        "CommandState": "meters.models.Command.State",
        "CommandKind": "meters.models.Command.Kind",
        "Presence": "meters.models.Link.State",
        "CredentialKind": "meters.models.Credential.Kind",
    },
}

# --- what is held back, and for how long
HES_CLAIM_S = env_int("HES_CLAIM_S", 30, low=5, high=3600)
HES_LEASE_S = env_int("HES_LEASE_S", 20, low=5, high=3600)
HES_DIALOG_DEADLINE_S = env_int("HES_DIALOG_DEADLINE_S", 120, low=1, high=3600)
HES_COMMAND_DEADLINE_S = env_int("HES_COMMAND_DEADLINE_S", 120, low=1, high=86400)
HES_MAX_DIALOGS = env_int("HES_MAX_DIALOGS", 500, low=1, high=100_000)
HES_FIRST_READ_DAYS = env_int("HES_FIRST_READ_DAYS", 3, low=1, high=3660)

# --- storage
HES_BACKLOG_BYTES = env_byte_count("HES_BACKLOG_BYTES", 512 << 20, low=1 << 20)
HES_RETENTION_DAYS = env_int("HES_RETENTION_DAYS", 400, low=2, high=36600)
HES_LATEST_TTL_S = env_int("HES_LATEST_TTL_S", 86400, low=1)
HES_INGEST_BATCH = env_int("HES_INGEST_BATCH", 200, low=1, high=10_000)
HES_INGEST_CLAIM_S = env_int("HES_INGEST_CLAIM_S", 30, low=1, high=3600)

# --- schedules
HES_BEAT_MAX_INTERVAL_S = env_int("HES_BEAT_MAX_INTERVAL_S", 2, low=1, high=300)

# --- logs
HES_LOG_LEVEL = env_str("HES_LOG_LEVEL", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
#: structlog is set up by `hes.logging`, called by each entry point
LOGGING_CONFIG = "hes.logging.configure_django"
LOGGING = {"level": HES_LOG_LEVEL}
