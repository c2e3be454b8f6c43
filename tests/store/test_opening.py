"""Addresses, options, and what errors say and do not say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from transit.errors import (
    AlreadyExistsError,
    ForkedError,
    InvalidInputError,
    NotFoundError,
    RemoteSetupError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
    UnsuitableRemoteError,
)
from transit.store import ObjectStore, open_store
from transit.store.answers import answer, error_of

Remote = tuple[str, dict[str, object]]

SECRET = "hunter2-hunter2"
SOURCE = Path(__file__).resolve().parents[2]


def said(store_or_error: object) -> str:
    """Everything printed about it, causes included."""
    if isinstance(store_or_error, BaseException):
        return "".join(traceback.format_exception(store_or_error))
    return f"{store_or_error!r} {store_or_error}"


def test_paths_and_file_urls_name_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a folder % with ünusual ? characters"
    stores = [open_store(folder), open_store(str(folder)), open_store(folder.as_uri())]
    stores[0].put("HEAD", b"1")
    assert [store.get("HEAD", 1) for store in stores] == [b"1"] * 3
    assert {store.url for store in stores} == {folder.as_uri()}
    with pytest.raises(InvalidInputError):
        open_store("file://elsewhere/folder")


def test_a_folder_shows_no_files_that_are_being_made(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put("segments/a.seg", b"1")
    (tmp_path / "segments" / "0123.temporary").write_bytes(b"2")
    assert list(store.list("")) == [("segments/a.seg", 1)]
    assert [path.name for path in (tmp_path / "segments").glob("*.seg")] == ["a.seg"]


@pytest.mark.parametrize(
    "url",
    ["", "a\0b", "s3://", "nonsense://a", "s3:///", "simplecache::s3://a", "file://other-host/a"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        open_store(url, {"key": "k", "secret": SECRET})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (f"s3://KEY:{SECRET}@bucket", {}),
        (f"s3://KEY:{SECRET}/with/slashes@bucket/prefix", {}),
        (f"https://user:{SECRET}@example.org/a", {}),
        (f"file://user:{SECRET}@/tmp", {}),
        ("s3://bucket", {"endpoint_url": f"http://user:{SECRET}@127.0.0.1:1"}),
        ("s3://bucket", {"client_kwargs": {"endpoint_url": f"http://u:{SECRET}@127.0.0.1:1"}}),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(
    url: str, options: dict[str, object]
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_store(url, options)
    assert SECRET not in said(caught.value)


def test_no_error_and_no_repr_holds_credentials(ceph_remote: Remote) -> None:
    url, options = ceph_remote
    secrets = {"key": "AKIA-" + SECRET, "secret": SECRET, "token": "token-" + SECRET}
    store = open_store(f"{url}/x", {**options, **secrets})
    assert SECRET not in said(store)
    for call in (lambda: store.get("a", 1), lambda: store.put("a", b""), lambda: store.size("a")):
        with pytest.raises(StorePermissionError) as caught:
            call()
        assert SECRET not in said(caught.value)
    store.close()
    for bad in ({"endpoint_url": "nonsense"}, {"unknown_option": SECRET}):
        with pytest.raises(InvalidInputError) as refused:
            open_store("s3://bucket", {**secrets, **bad})
        assert SECRET not in said(refused.value)


def test_without_credentials_access_is_denied(
    ceph_remote: Remote, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [*os.environ]:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    url, options = ceph_remote
    store = open_store(url, {"endpoint_url": options["endpoint_url"]})
    with pytest.raises(StorePermissionError):
        store.get("a", 1)
    store.close()


def test_a_bucket_that_is_not_there_is_named(ceph_remote: Remote, moto_remote: Remote) -> None:
    for _, options in (ceph_remote, moto_remote):
        name = f"transit-{uuid4().hex}"
        store = open_store(f"s3://{name}/prefix", options)
        for call in (
            lambda store: store.get("a", 1),
            lambda store: store.get_range("a", 0, 1),
            lambda store: store.put("a", b""),
            lambda store: store.create("a", b""),
            lambda store: list(store.list("")),
        ):
            with pytest.raises(NotFoundError, match=f"{name}: no such bucket"):
                call(store)
        store.close()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    options = {"key": "k", "secret": SECRET, "endpoint_url": "http://127.0.0.1:9"}
    store = open_store("s3://bucket/prefix", options, 0.5)
    for call in (lambda: store.get("a", 1), lambda: store.create("a", b"")):
        with pytest.raises(RemoteUnavailableError) as caught:
            call()
        assert SECRET not in said(caught.value)
    store.close()


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_a_missing_package_is_named(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
from transit.errors import UnsuitableRemoteError
from transit.store import open_store
try:
    open_store("s3://bucket", {{"secret": "hidden"}})
except UnsuitableRemoteError as error:
    assert "pip install 'transit[s3]'" in str(error), error
else:
    raise SystemExit("nothing raised")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=SOURCE)


def test_importing_the_store_loads_no_client() -> None:
    program = """
import sys, transit, transit.store
loaded = {"fsspec", "s3fs", "asyncio", "botocore", "aiohttp"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=SOURCE)


@pytest.mark.slow
def test_a_store_that_is_not_closed_ends_without_a_warning(ceph_remote: Remote) -> None:
    url, options = ceph_remote
    program = f"""
from transit.store import open_store
store = open_store({url!r} + "/x", {options!r})
store.put("a", b"1")
closed = open_store({url!r} + "/x", {options!r})
assert closed.get("a", 1) == b"1"
closed.close()
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    done = subprocess.run(command, check=True, cwd=SOURCE, capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "Warning" in line or "rror" in line]
    assert not complaints, done.stderr


def test_a_store_made_before_a_fork_is_refused_in_the_child(ceph_remote: Remote) -> None:
    url, options = ceph_remote
    for store in (open_store(f"{url}/x", options), open_store("memory://fork")):
        store.put("a", b"1")
        pid = os.fork()
        if pid == 0:
            os._exit(_child(store))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert store.get("a", 1) == b"1"
        store.close()


def _child(store: ObjectStore) -> int:
    """The exit code of a child: 0 when the store was refused. The child never goes on as a test."""
    signal.alarm(10)
    try:
        store.get("a", 1)
    except ForkedError:
        store.close()
        return 0
    except BaseException:
        return 2
    return 1


class Refusal(Exception):
    """An error as botocore's are: an answer, and a class that says nothing."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(SECRET)
        self.response: dict[str, Any] = {
            "Error": {"Code": code},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, NotFoundError),
        ("404", 404, NotFoundError),
        ("NoSuchBucket", 404, NotFoundError),
        ("PreconditionFailed", 412, AlreadyExistsError),
        ("anything", 412, AlreadyExistsError),
        ("AccessDenied", 403, StorePermissionError),
        ("SignatureDoesNotMatch", 403, StorePermissionError),
        ("InvalidAccessKeyId", 403, StorePermissionError),
        ("ExpiredToken", 400, StorePermissionError),
        ("401", 401, StorePermissionError),
        ("NotImplemented", 501, UnsuitableRemoteError),
        ("PermanentRedirect", 301, RemoteSetupError),
        ("BadDigest", 400, RemoteUnavailableError),
        ("RequestTimeout", 400, RemoteUnavailableError),
        ("unheard of", 400, RemoteUnavailableError),
        ("ConditionalRequestConflict", 409, RemoteUnavailableError),
        ("SlowDown", 503, RemoteUnavailableError),
        ("InternalError", 500, RemoteUnavailableError),
        # A broken server's words do not make its answer final.
        ("NoSuchKey", 500, RemoteUnavailableError),
        ("PreconditionFailed", 503, RemoteUnavailableError),
        ("TooManyRequests", 429, RemoteUnavailableError),
    ],
)
def test_an_answer_is_judged_by_code_and_status_and_not_by_its_class(
    code: str, status: int, expected: type[TransitError]
) -> None:
    refusal = Refusal(code, status)
    wrapped = OSError(22, "wrapped")
    wrapped.__cause__ = refusal
    misleading = FileExistsError("wrapped")
    misleading.__cause__ = refusal
    for error in (refusal, wrapped, misleading):
        judged = error_of(answer(error), "s3://bucket/key")
        assert type(judged) is expected
        assert SECRET not in str(judged)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("gone"), NotFoundError),
        (FileExistsError("there"), AlreadyExistsError),
        (PermissionError("no"), StorePermissionError),
        # As fsspec's own file systems say that they have no such request.
        (NotImplementedError(), UnsuitableRemoteError),
        (OSError("anything"), RemoteUnavailableError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_an_error_of_pythons_own_is_judged_by_its_class(
    error: Exception, expected: type[TransitError]
) -> None:
    assert type(error_of(answer(error), "memory://place")) is expected
