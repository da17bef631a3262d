from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.plugins.rgw import S3Server

STARTER = """
import sys, time
from pathlib import Path
from tests.plugins import rgw
print(rgw._start(Path(sys.argv[1]), []).endpoint, flush=True)
time.sleep(600)
"""


def answers(endpoint: str) -> bool:
    parts = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), int(parts.port or 0))) == 0


@pytest.mark.s3
def test_objects_of_one_bucket_are_not_in_another(s3_server: S3Server) -> None:
    one, two = s3_server.make_bucket(), s3_server.make_bucket()
    s3_server.client().put_object(one, "x", io.BytesIO(b"x"), 1)
    assert [found.object_name for found in s3_server.client().list_objects(one)] == ["x"]
    assert list(s3_server.client().list_objects(two)) == []


@pytest.mark.s3
@pytest.mark.usefixtures("s3_server")  # skips where Ceph is absent
def test_the_server_dies_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as starter:
        assert starter.stdout is not None
        endpoint = starter.stdout.readline().strip()
        assert answers(endpoint)
        starter.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while answers(endpoint) and time.monotonic() < end:
        time.sleep(0.05)
    assert not answers(endpoint)
