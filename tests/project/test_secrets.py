"""Made-up credentials wherever a program may give them, and looked for wherever they must not be.

What is promised is about transit: its errors, `repr`, files, objects and output. What clients below
it log at level DEBUG is theirs; which of them do is written down here.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

import transit
from rigs.faults import canary
from rigs.faults.canary import Logs
from transit.store import open_store

Remote = tuple[str, dict[str, object]]
CANARIES = canary.make_canaries()
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = transit.Settings(remote_timeout_s=1.0)
PATIENT = transit.Settings(remote_timeout_s=60.0)
NOBODY = "http://127.0.0.1:9"

# Loggers below transit that write credentials at DEBUG, in the forms in which they are sent.
CLIENTS = {"botocore", "aiobotocore", "s3fs", "fsspec", "urllib3", "aiohttp", "asyncio"}


@pytest.fixture(autouse=True)
def _in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in canary.environment(CANARIES).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def given(moto_remote: Remote) -> Remote:
    """A place of its own in a server that takes any credentials, and options with made-up ones."""
    url, options = moto_remote
    endpoint = str(options["endpoint_url"])
    return f"{url}/{uuid4().hex}", canary.options(CANARIES, endpoint)


def work(folder: Path, remote: Remote) -> list[object]:
    """Everything a program does with a remote; what it gets to see on the way."""
    url, options = remote
    seen: list[object] = []
    with transit.open(folder / "a", remote=url, storage_options=options, settings=PATIENT) as log:
        stream = log.create("s", metadata={"a": 1})
        seen += [log, stream, stream.append(b"1", durability="tiered"), log.publish()]
        seen += [log.evict(bytes_max=0), stream[0], log.status(), log.lineage, stream.cursor("c")]
        seen += [log.verify(), log.settings if hasattr(log, "settings") else None]
        log.release()
    seen.append(
        transit.restore(url, folder / "r", lazy=True, storage_options=options, settings=PATIENT)
    )
    with transit.open(
        folder / "r", mode="read", remote=url, storage_options=options, settings=PATIENT
    ) as log:
        seen += [log, log.stream("s")[0], log.refresh()]
    with transit.open(url, mode="read", storage_options=options, settings=PATIENT) as log:
        seen += [log, *log.streams()]
    seen.append(transit.audit(url, storage_options=options, settings=PATIENT))
    store = open_store(url, options)
    seen += [store, store.traffic]
    store.close()
    return seen


@pytest.mark.slow
def test_nothing_that_is_shown_kept_or_published_holds_a_secret(
    given: Remote, tmp_path: Path
) -> None:
    seen = work(tmp_path, given)
    assert len(seen) > 15
    assert canary.in_objects(seen, CANARIES) == []
    assert list(canary.in_folder(tmp_path, CANARIES)) == []
    store = open_store(given[0], given[1])
    objects = {key: store.get(key, size) or b"" for key, size in store.list("")}
    store.close()
    assert any(key.startswith("commits/") for key in objects)
    for key, data in objects.items():
        assert canary.hits(data + key.encode(), CANARIES) == [], key


@pytest.mark.slow
def test_transit_logs_nothing_and_only_clients_below_it_log_credentials(
    given: Remote, tmp_path: Path
) -> None:
    with Logs() as logs:
        work(tmp_path, given)
    names = {name for name, _ in logs.texts}
    assert not {name for name in names if name.startswith("transit")}
    told = logs.hits(CANARIES)
    assert {name for name, _ in told} <= CLIENTS
    # The key that signs is never sent, so no client library can log it.
    assert {kind for _, kind in told} <= {"key", "token"}


@pytest.mark.slow
def test_client_loggers_say_nothing_above_debug(given: Remote, tmp_path: Path) -> None:
    with Logs() as logs:
        logging.getLogger().setLevel(logging.INFO)
        work(tmp_path, given)
    assert logs.hits(CANARIES) == set()


# Errors


def refused_endpoint(folder: Path, remote: Remote) -> None:
    options = canary.options(CANARIES, NOBODY)
    transit.open(folder / "x", remote=remote[0], storage_options=options, settings=SETTINGS)


def no_such_bucket(folder: Path, remote: Remote) -> None:
    url = f"s3://transit-{uuid4().hex}/x"
    transit.open(folder / "x", remote=url, storage_options=remote[1], settings=SETTINGS)


def no_store(folder: Path, remote: Remote) -> None:
    transit.restore(f"{remote[0]}/none", folder / "x", storage_options=remote[1])


def option_unknown(folder: Path, remote: Remote) -> None:
    options = {**remote[1], "passphrase": CANARIES["password"]}
    transit.open(folder / "x", remote=remote[0], storage_options=options)


def option_of_a_wrong_type(folder: Path, remote: Remote) -> None:
    options = {**remote[1], "config_kwargs": {"connect_timeout": CANARIES["password"]}}
    transit.open(folder / "x", remote=remote[0], storage_options=options, settings=SETTINGS)


def credentials_in_an_address(folder: Path, remote: Remote) -> None:
    url = f"s3://{CANARIES['key']}:{CANARIES['secret']}@bucket/x"
    transit.open(folder / "x", remote=url)


def credentials_in_an_endpoint(folder: Path, remote: Remote) -> None:
    endpoint = f"http://user:{CANARIES['password']}@127.0.0.1:9"
    options = {"endpoint_url": endpoint}
    transit.open(folder / "x", remote="s3://bucket/x", storage_options=options)


def credentials_in_a_proxy(folder: Path, remote: Remote) -> None:
    proxy = f"http://user:{CANARIES['password']}@127.0.0.1:9"
    options = {**remote[1], "config_kwargs": {"proxies": {"http": proxy}}}
    transit.open(folder / "x", remote=remote[0], storage_options=options, settings=SETTINGS)


def signature_in_an_address(folder: Path, remote: Remote) -> None:
    url = f"https://127.0.0.1:9/x?X-Amz-Signature={CANARIES['password']}"
    transit.open(folder / "x", remote=url, settings=SETTINGS)


def chained_address(folder: Path, remote: Remote) -> None:
    transit.open(folder / "x", remote=f"simplecache::s3://{CANARIES['key']}@bucket")


REFUSALS: tuple[Callable[[Path, Remote], None], ...] = (
    refused_endpoint, no_such_bucket, no_store, option_unknown, option_of_a_wrong_type,
    credentials_in_an_address, credentials_in_an_endpoint, credentials_in_a_proxy,
    signature_in_an_address, chained_address,
)  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.__name__)
def test_no_error_says_a_secret(
    given: Remote, tmp_path: Path, refusal: Callable[[Path, Remote], None]
) -> None:
    with pytest.raises(transit.TransitError) as caught:
        refusal(tmp_path, given)
    assert canary.in_error(caught.value, CANARIES) == []
    assert list(canary.in_folder(tmp_path, CANARIES)) == []


@pytest.mark.slow
def test_wrong_credentials_are_denied_without_being_said(
    ceph_remote: Remote, tmp_path: Path
) -> None:
    url, options = ceph_remote
    for wrong in (
        {**options, "key": CANARIES["key"], "secret": CANARIES["secret"]},
        {**options, "secret": CANARIES["secret"]},
    ):
        with pytest.raises(transit.StorePermissionError) as caught:
            transit.open(tmp_path / "a", remote=url, storage_options=wrong, settings=PATIENT)
        assert canary.in_error(caught.value, CANARIES) == []


def test_variables_of_frames_hold_no_secret_once_a_store_is_open(
    given: Remote, tmp_path: Path
) -> None:
    url, options = given
    log = transit.open(tmp_path / "a", remote=url, storage_options=options, settings=PATIENT)
    store = open_store(f"{url}/none", canary.options(CANARIES, NOBODY), 0.2)
    del options, given
    for call in (
        lambda: store.get("FORMAT", 100),
        lambda: store.put("HEAD", b"x"),
        lambda: store.create("commits/x", b"x"),
        lambda: list(store.list("")),
        lambda: transit.restore(store, tmp_path / "r"),
        lambda: transit.audit(store),
        lambda: log.stream("none"),
    ):
        with pytest.raises(transit.TransitError) as caught:
            call()
        assert canary.in_frames(caught.value, CANARIES) == []
    store.close()
    log.close()


# Given to these as an argument, so it is among their variables while they run.
TAKES_OPTIONS = {
    "open", "attach", "attach_all", "open_store", "_open_s3", "_filesystem", "s3_options",
    "_refuse_credentials",
}  # fmt: skip


def test_only_functions_that_are_given_options_have_them_among_their_variables(
    given: Remote, tmp_path: Path
) -> None:
    for refusal in (option_unknown, refused_endpoint):
        with pytest.raises(transit.TransitError) as caught:
            refusal(tmp_path, given)
        assert {name for name, _ in canary.in_frames(caught.value, CANARIES)} <= TAKES_OPTIONS


# Other processes


PROGRAM = """
import faulthandler, sys
import transit
log = transit.open(sys.argv[1], remote=sys.argv[2],
                   storage_options={"endpoint_url": sys.argv[3]}, durability="tiered")
log.create("s").append(b"1")
faulthandler.dump_traceback(all_threads=True)
sys.stderr.flush()
faulthandler._sigsegv()
"""


@pytest.mark.slow
def test_crash_dump_of_a_process_holds_no_secret(given: Remote, tmp_path: Path) -> None:
    url, options = given
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM]
    arguments = [str(tmp_path / "a"), url, str(options["endpoint_url"])]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode != 0
    assert b"transit" in done.stderr
    assert b"Segmentation fault" in done.stderr
    assert canary.hits(done.stdout + done.stderr, CANARIES) == []


def command(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """`transit` as a shell runs it, with the made-up secrets in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "transit", *words], cwd=folder, capture_output=True, check=False,
        timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT), **more},
    )  # fmt: skip


@pytest.mark.slow
def test_command_shows_no_secret_of_its_environment(given: Remote, tmp_path: Path) -> None:
    url, options = given
    endpoint = {"TRANSIT_ENDPOINT_URL": str(options["endpoint_url"])}
    for words in (
        ("append", "notes", "--create", "first"),
        ("config",),
        ("publish", "--remote", url),
        ("status", "--remote", url),
        ("audit", url),
        ("restore", url, "there"),
        ("restore", f"{url}/none", "nowhere"),
        ("audit", "s3://transit-no-such-bucket/x"),
    ):
        done = command(tmp_path, *words, **endpoint)
        assert b"Traceback" not in done.stderr, words
        assert canary.hits(done.stdout + done.stderr, CANARIES) == [], words
    assert list(canary.in_folder(tmp_path, CANARIES)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("publish", "--remote", f"s3://{CANARIES['key']}:{CANARIES['secret']}@bucket/x"),
        ("audit", f"s3://{CANARIES['key']}:{CANARIES['secret']}@bucket/x"),
        ("audit", f"https://127.0.0.1:9/x?sig={CANARIES['password']}"),
        ("config", "--remote", f"s3://{CANARIES['key']}:{CANARIES['secret']}@bucket/x"),
    ],
    ids=["publish", "audit", "signature", "config"],
)
def test_command_does_not_repeat_credentials_of_an_address(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    command(tmp_path, "append", "notes", "--create", "first")
    done = command(tmp_path, *words, TRANSIT_LIMITS_REMOTE_TIMEOUT_S="1")
    assert canary.hits(done.stdout + done.stderr, CANARIES) == []
    if done.returncode:
        assert json.loads(done.stderr.splitlines()[-1])["error"]["message"]


@pytest.mark.slow
def test_command_does_not_repeat_credentials_of_an_endpoint(tmp_path: Path) -> None:
    endpoint = f"http://user:{CANARIES['password']}@127.0.0.1:9"
    command(tmp_path, "append", "notes", "--create", "first")
    for words in (("config",), ("publish", "--remote", "s3://bucket/x"), ("audit", "s3://b/x")):
        done = command(tmp_path, *words, TRANSIT_ENDPOINT_URL=endpoint)
        assert canary.hits(done.stdout + done.stderr, CANARIES) == [], words


# The looking itself


def test_secret_is_found_in_every_form(tmp_path: Path) -> None:
    secret = CANARIES["secret"]
    for form in canary.forms(secret):
        assert canary.hits(b"before" + form + b"after", CANARIES) == ["secret"]
    error = transit.InvalidInputError("hidden")
    error.__cause__ = ValueError(secret)
    assert canary.in_error(error, CANARIES) == ["secret"]
    (tmp_path / "file").write_text(f"x{secret}x")
    assert len(list(canary.in_folder(tmp_path, CANARIES))) == 1
    assert canary.in_objects([{"a": secret}], CANARIES) == ["dict"]
    with Logs() as logs:
        logging.getLogger("transit.store").debug("signed with %s", secret)
    assert logs.hits(CANARIES) == {("transit", "secret")}
    with pytest.raises(transit.InvalidInputError) as caught:
        open_store("s3://", {"secret": secret})
    assert canary.in_frames(caught.value, CANARIES)
