"""What stops a start, and what a gateway process must not load."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import redis

from dlms.framing.wrapper import encode_frame
from gateway import wire
from gateway.config import Config, SettingError, read_config
from hes.supervisor import Child

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_gateway(**env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway"]
    path = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=ROOT, env=path | env, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", ""),
        ("REDIS_URL", "http://secret-word@host"),
        ("REDIS_URL", "redis://:secret-word@host:port"),
        ("HES_GATEWAY_PORT", "70000"),
        ("HES_GATEWAY_PORT", "four"),
        ("HES_GATEWAY_REUSE_PORT", "perhaps"),
        ("HES_NODE_NAME", "two words"),
        ("HES_NODE_TTL_S", "0"),
        ("HES_GATEWAY_MAX_LINKS", "1.5"),
        ("HES_GATEWAY_MAX_PER_ADDRESS", "-1"),
        ("HES_GATEWAY_LOGIN_TIMEOUT_S", "nan"),
        ("HES_GATEWAY_IDLE_S", "inf"),
        ("HES_GATEWAY_HALF_FRAME_S", "10s"),
        ("HES_GATEWAY_MAX_FRAME_BYTES", "65544"),
        ("HES_QUARANTINE_S", ""),
        ("HES_PROBE_S", "x"),
        ("HES_GATEWAY_DRAIN_S", "-1"),
        ("HES_LOG_LEVEL", "LOUD"),
    ],
)
def test_malformed_setting_is_named_and_its_secret_is_not(name, value):
    env = {"REDIS_URL": "redis://localhost", name: value}
    if name == "HES_QUARANTINE_S":
        assert read_config(env).quarantine_s == 10, "an empty variable counts as not set"
        return
    with pytest.raises(SettingError, match=name) as caught:
        read_config(env)
    assert "secret-word" not in str(caught.value)


def test_config_does_not_show_the_url():
    assert "secret" not in repr(Config(redis_url="redis://:secret@host"))


def test_malformed_setting_ends_the_process_with_status_2():
    ended = run_gateway(REDIS_URL="redis://localhost", HES_PROBE_S="soon")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "HES_PROBE_S" in ended.stderr


def test_missing_redis_url_ends_the_process_with_status_2():
    ended = run_gateway()
    assert ended.returncode == 2
    assert "REDIS_URL: is not set" in ended.stderr


def test_taken_port_ends_the_process_naming_the_variable():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run_gateway(REDIS_URL="redis://127.0.0.1:1", HES_GATEWAY_PORT=str(port))
    assert ended.returncode == 2
    assert "HES_GATEWAY_PORT" in ended.stderr


def loaded_by(statement: str) -> set[str]:
    script = f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True).stdout
    return set(json.loads(printed))


def test_gateway_loads_no_framework_no_keys_and_only_the_framing_of_dlms():
    modules = loaded_by("import gateway.__main__")
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {"django", "celery", "kombu", "numpy", "psycopg2", "hes", "meters"}
    assert not packages & {"workers", "readings", "events", "simulator", "gurux_dlms"}
    # redis looks whether the package is there; nothing of it may be loaded that could cipher
    assert not [name for name in modules if name.startswith("cryptography.hazmat")]
    assert {name for name in modules if name.startswith("dlms")} == {
        "dlms",
        "dlms.errors",
        "dlms.framing",
        "dlms.framing.wrapper",
    }


def test_wire_loads_nothing_of_the_gateway_beside_itself():
    modules = loaded_by("import gateway.wire")
    assert {name for name in modules if name.startswith("gateway")} == {"gateway", "gateway.wire"}
    assert not {"asyncio", "redis", "dlms"} & modules


def test_nodes_that_share_a_port_both_get_meters(
    live_redis: redis.Redis, start_process: Callable[..., Child], free_port: int
) -> None:
    """What a process manager's count does: the same command line and environment twice."""
    for _ in range(2):
        start_process(
            "gateway",
            sys.executable,
            "-m",
            "gateway",
            HES_GATEWAY_PORT=str(free_port),
            HES_GATEWAY_REUSE_PORT="true",
        )
    deadline = time.monotonic() + 20
    while live_redis.scard(wire.NODES_SET) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    identities = [f"M{number}" for number in range(40)]
    with contextlib.ExitStack() as open_ones:
        for identity in identities:
            link = open_ones.enter_context(socket.create_connection(("127.0.0.1", free_port), timeout=5))
            link.sendall(encode_frame(1, 0, b"HES1 " + identity.encode()))
        while live_redis.exists(*map(wire.link_key, identities)) < len(identities):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        links = [wire.decode_link(live_redis.get(wire.link_key(identity))) for identity in identities]
    assert len({link.incarnation for link in links}) == 2
    assert len({link.node for link in links}) == 2
