"""The web process: health, where things are, log-in; one real uvicorn for what a test client cannot show."""

from __future__ import annotations

import signal
from collections.abc import Callable

import httpx
import pytest
import redis
from django.contrib.auth import get_user_model
from django.test import Client

from hes import health
from hes.supervisor import Child, procfile_commands, shell

from ..conftest import wait_for_port


@pytest.mark.django_db
def test_ready_with_all_servers_is_200(client: Client) -> None:
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert set(answer.json()["checks"].values()) == {"ok"}


def test_live_needs_no_database(client: Client) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}


@pytest.mark.django_db
def test_ready_without_redis_is_503_naming_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis.Redis(port=1)
    monkeypatch.setitem(health.CHECKS, "redis", lambda: bool(away.ping()))
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "migrations": "ok", "redis": "failed", "cache": "ok"}


def test_health_refuses_other_methods(client: Client) -> None:
    assert client.post("/health/live").status_code == 405


def test_root_leads_to_the_operator_site(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/admin/"


def test_api_needs_a_log_in(client: Client) -> None:
    assert client.get("/api/meters/").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_web_process_serves_health_log_in_schema_docs_and_static_files(
    start_process: Callable[..., Child], free_port: int
) -> None:
    get_user_model().objects.create_superuser("operator", password="correct horse battery")
    child = start_process("web", *shell(procfile_commands()["web"]), PORT=str(free_port))
    wait_for_port(free_port, child)
    with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=20) as web:
        assert web.get("/health/ready").status_code == 200
        login = web.post("/api/token/", json={"username": "operator", "password": "correct horse battery"})
        web.headers["Authorization"] = f"Token {login.json()['token']}"
        assert "openapi" in web.get("/api/schema/").text
        docs = web.get("/api/docs/")
        assert docs.status_code == 200
        assert "//cdn" not in docs.text
        for path in (
            "/static/admin/css/base.css",
            "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css",
        ):
            static = web.get(path)
            assert static.status_code == 200, path
            assert static.headers["Content-Type"].startswith("text/css")
            assert len(static.content) > 1000
            unchanged = web.get(path, headers={"If-Modified-Since": static.headers["Last-Modified"]})
            assert unchanged.status_code == 304
        problem = web.get("/api/nowhere/")
        assert problem.headers["Content-Type"] == "application/problem+json"
    assert child.stop() == -signal.SIGTERM  # uvicorn ends in order and then by the signal it got
    assert "Traceback" not in child.log_path.read_text()
    assert "Warning" not in child.log_path.read_text()
