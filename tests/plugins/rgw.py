"""A real S3 server for tests: Ceph's RADOS gateway over one monitor and one in-memory object daemon, on loopback.

It is started when the first test asks for it and lives for the session. The daemons die with the process that started
them, even when that one is killed; their state is in pytest's temporary folder. Each worker of
pytest-xdist starts its own.

Debian 12: apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from minio import Minio

BINARIES = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "setpriv")
READY_SECONDS = 90.0
"""Takes 13 s on two idle cores; several times that when they are busy."""

CONFIG = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_cluster_mode = crc
ms_service_mode = crc
ms_client_mode = crc
ms_mon_cluster_mode = crc
ms_mon_service_mode = crc
ms_mon_client_mode = crc
ms_bind_msgr1 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
admin_socket =
run_dir = {folder}
log_file = {folder}/$name.log
mon_data = {folder}/mon
osd_data = {folder}/osd
keyring = {folder}/keyring
mon_allow_pool_size_one = true
mon_data_avail_crit = 0
mon_data_avail_warn = 0
mon_max_pg_per_osd = 1000
mon_tick_interval = 1
paxos_propose_interval = 0.05
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
rgw_rados_pool_pg_num_min = 1
rgw_override_bucket_index_max_shards = 1
rgw_enable_usage_log = false
rgw_gc_max_objs = 1
rgw_lc_max_objs = 1
rgw_thread_pool_size = 16
debug_mon = 0
debug_osd = 0
debug_rgw = 0
debug_ms = 0
debug_paxos = 0
"""


@dataclass(frozen=True)
class S3User:
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class S3Server:
    """A running gateway: its URL, one user, and what makes more of them."""

    endpoint: str
    user: S3User
    folder: Path

    def client(self, user: S3User | None = None) -> Minio:
        """An official client that speaks for `user`."""
        user = user or self.user
        host = self.endpoint.removeprefix("http://")
        return Minio(host, access_key=user.access_key, secret_key=user.secret_key, secure=False, region="us-east-1")

    def environment(self, user: S3User | None = None) -> dict[str, str]:
        """The variables by which mgoe finds this server."""
        user = user or self.user
        return {
            "S3_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": user.access_key,
            "AWS_SECRET_ACCESS_KEY": user.secret_key,
            "AWS_REGION": "us-east-1",
        }

    def make_user(self, name: str) -> S3User:
        """A new user with keys of its own, that owns nothing yet."""
        return _make_user(self.folder, name)

    def make_bucket(self) -> str:
        """A new bucket of the server's first user."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().make_bucket(name)
        return name


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server. Skips the test, naming what is absent, where Ceph is not installed."""
    absent = [name for name in BINARIES if shutil.which(name) is None]
    if absent:
        pytest.skip(f"no real S3 server: {', '.join(absent)} not installed")
    folder = tmp_path_factory.mktemp("rgw")
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        yield _start(folder, daemons)
    finally:
        for daemon in reversed(daemons):
            daemon.kill()  # everything is in memory: there is nothing to save
            daemon.wait()


@pytest.fixture
def s3_bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, with the environment set so that mgoe reaches it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket()


def _start(folder: Path, daemons: list[subprocess.Popen[bytes]]) -> S3Server:
    fsid, mon_port, s3_port = str(uuid.uuid4()), _free_port(), _free_port()
    (folder / "ceph.conf").write_text(CONFIG.format(fsid=fsid, mon_port=mon_port, folder=folder))
    (folder / "keyring").touch()
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    monmap = str(folder / "monmap")
    _run(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monmap)
    _run(folder, "ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
    daemons.append(_spawn(folder, "ceph-mon", "-f", "-i", "a"))
    osd = str(uuid.uuid4())
    _run(folder, "ceph", "osd", "new", osd)
    _run(folder, "ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
    daemons.append(_spawn(folder, "ceph-osd", "-f", "-i", "0"))
    user = _make_user(folder, "tester")
    endpoint = f"http://127.0.0.1:{s3_port}"
    daemons.append(
        _spawn(folder, "radosgw", "-f", "-n", "client.rgw", f"--rgw_frontends=beast endpoint=127.0.0.1:{s3_port}")
    )
    _wait_until(lambda: _answers(endpoint), daemons, folder)
    return S3Server(endpoint, user, folder)


def _make_user(folder: Path, name: str) -> S3User:
    answer = _run(folder, "radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}")
    keys = json.loads(answer[answer.index("{") :])["keys"][0]
    return S3User(keys["access_key"], keys["secret_key"])


def _run(folder: Path, *command: str) -> str:
    name, *rest = command
    config = [] if name == "monmaptool" else ["-c", str(folder / "ceph.conf")]
    done = subprocess.run([name, *config, *rest], capture_output=True, text=True, timeout=READY_SECONDS, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    return done.stdout


def _spawn(folder: Path, name: str, *rest: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.out").open("wb") as output:
        # The kernel kills the daemon when this process dies, however it dies.
        command = ["setpriv", "--pdeathsig", "KILL", "--", name, "-c", str(folder / "ceph.conf"), *rest]
        return subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=os.environ)


def _wait_until(ready: Callable[[], bool], daemons: list[subprocess.Popen[bytes]], folder: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while not ready():
        dead = [daemon.args for daemon in daemons if daemon.poll() is not None]
        if dead or time.monotonic() > end:
            logs = "\n".join(f"{path.name}: {path.read_text()[-500:]}" for path in sorted(folder.glob("*.out")))
            pytest.fail(f"the S3 server did not come up; dead: {dead}\n{logs}")
        time.sleep(0.1)


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(endpoint, timeout=5) as answer:  # noqa: S310  our own loopback address
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
