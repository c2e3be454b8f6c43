"""Places, child processes and S3 servers for tests.

There are a real server, a fast one, and one that lets every creator win. Each such fixture gives
`(url, storage_options)` of a bucket of its own, which lives as long as the test session (of each
pytest-xdist worker).
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings

import transit

pytest.register_assert_rewrite("transit.testing.store_contract")

# Other processes may take the machine for longer than any one example lasts.
settings.register_profile("transit", deadline=None)
settings.load_profile("transit")

# A program in the background of a shell ignores Ctrl-C, and so do its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

Remote = tuple[str, dict[str, object]]

ROOT = Path(__file__).resolve().parents[1]
CEPH_ENDPOINT = "http://127.0.0.1:7480"
# What scripts/s3_up.sh gives its user.
ACCESS_KEY, SECRET_KEY = "rigaccess", "rigsecretkey"
START_TIMEOUT_S = 60
# A file system in memory, of Linux; containers may have a very small one.
MEMORY = "/dev/shm"
MEMORY_FREE_MIN = 4 * 1024**3
# Children run with the transit under test, wherever it was imported from.
SOURCE = str(Path(transit.__file__).parents[1])

Start = Callable[..., "subprocess.Popen[str]"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the folders of tests in memory where there is room: a disk takes its time for syncs.

    What a sync is for, only a cut of power shows; the rigs make those. `TMPDIR` or `--basetemp`
    is another place.
    """
    # Collecting thousands of tests makes millions of objects that stay, and no garbage. Not when
    # this is imported: rigs import it without the hook that ends it, and were never collected.
    gc.disable()
    chosen = config.option.basetemp or {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys()
    if chosen or not os.access(MEMORY, os.W_OK):
        return
    if shutil.disk_usage(MEMORY).free >= MEMORY_FREE_MIN:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = MEMORY


def pytest_collection_finish() -> None:
    """Leave out of all garbage collections from now on what there is: tests and modules."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store"


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts a script with arguments; what still runs at the end is killed."""
    children = []

    def start_script(script: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        children.append(child)
        return child

    yield start_script
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def poor() -> Callable[..., str]:
    """A function that runs a script in a process with 1 GiB of memory; what it printed."""

    def run(script: str, *arguments: object) -> str:
        limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        done = subprocess.run(
            [sys.executable, "-c", limit + script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="session")
def moto_remote() -> Iterator[Remote]:
    """A bucket of moto: in memory, fast, and with races that more than one creator can win."""
    command = ("moto_server", "-H", "127.0.0.1", "-p", "{port}")
    with _running(*command) as endpoint:
        options = _options(endpoint)
        with _client(options) as client:
            name = _make_bucket(client)
        # It ends together with its server.
        yield f"s3://{name}", options


@pytest.fixture(scope="session")
def ceph_remote() -> Iterator[Remote]:
    """A bucket of Ceph, as `TRANSIT_S3_ENDPOINT` says, or on this machine's port 7480."""
    endpoint = os.environ.get("TRANSIT_S3_ENDPOINT", "")
    if endpoint:
        key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    else:
        endpoint, key, secret = CEPH_ENDPOINT, ACCESS_KEY, SECRET_KEY
        _start_ceph()
    options = _options(endpoint, key, secret)
    with _client(options) as client:
        name = _make_bucket(client)
        yield f"s3://{name}", options
        _remove_bucket(client, name)


@pytest.fixture(scope="session")
def ignoring_remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """A bucket of rclone, which takes no notice of conditions: every creator wins."""
    folder = tmp_path_factory.mktemp("rclone")
    name = f"transit-{uuid4().hex}"
    (folder / name).mkdir()
    command = ("serve", "s3", "--addr", "127.0.0.1:{port}", "--vfs-cache-mode", "off")
    keys = ("--auth-key", f"{ACCESS_KEY},{SECRET_KEY}")
    with _running("rclone", *command, *keys, str(folder)) as endpoint:
        yield f"s3://{name}", _options(endpoint)


def _options(endpoint: str, key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> dict[str, object]:
    return {"endpoint_url": endpoint, "key": key, "secret": secret}


@contextlib.contextmanager
def _client(options: dict[str, object]) -> Iterator[Any]:
    # Most tests need no remote, and this takes longer to import than all of transit.
    import s3fs

    client: Any = s3fs.S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False)
    yield client
    client.close_session(client.loop, client._s3creator)


def _make_bucket(client: Any) -> str:
    name = f"transit-{uuid4().hex}"
    client.call_s3("create_bucket", Bucket=name)
    return name


def _remove_bucket(client: Any, name: str) -> None:
    paths = client.find(name)
    if paths:
        # A thousand in one request: a run leaves thousands of them.
        client.rm(paths)
    client.call_s3("delete_bucket", Bucket=name)


@contextlib.contextmanager
def _running(program: str, *arguments: str) -> Iterator[str]:
    """A server on a free port, until the end of the block; its endpoint."""
    beside = Path(sys.executable).with_name(program)
    path = str(beside) if beside.exists() else shutil.which(program)
    if path is None:
        _unavailable(f"{program} is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(path), *(each.format(port=port) for each in arguments)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(endpoint):
            assert server.poll() is None, f"{program} ended with code {server.returncode}"
            assert time.monotonic() < deadline, f"{program} does not answer"
            time.sleep(0.05)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


def _answers(endpoint: str) -> bool:
    """Whether an HTTP server listens there, whatever it says."""
    host, port = endpoint.removeprefix("http://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def _start_ceph() -> None:
    """Start the real server, unless it runs; skip the test where it cannot be."""
    lock = Path(tempfile.gettempdir()) / "transit-s3-up.lock"
    with lock.open("w") as file:
        # Workers of one test run come here at once, and only one may start it.
        fcntl.flock(file, fcntl.LOCK_EX)
        if _answers(CEPH_ENDPOINT):
            return
        in_ci = "CI" in os.environ and os.geteuid() == 0
        if not in_ci and shutil.which("radosgw") is None:
            _unavailable("no S3 server: run `just s3-up` or set TRANSIT_S3_ENDPOINT")
        command = [str(ROOT / "scripts" / "s3_up.sh")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            _unavailable(f"scripts/s3_up.sh failed: {done.stderr}")


def _unavailable(reason: str) -> None:
    """Skip; in CI nothing is skipped for lack of a server."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)
