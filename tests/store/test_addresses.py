"""A slip in an address is told, and never makes a folder of that name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.cli.shell import transit as command
from transit.errors import InvalidInputError
from transit.store import address_folder, addresses, open_store

SECRET = "abcdef0123456789/very+secret"

# What was typed -> what the message says, at least.
SLIPS = {
    "s3:/bucket/runs": "did you mean s3://bucket/runs?",
    "s3:bucket": "did you mean s3://bucket?",
    "S3:/bucket": "did you mean s3://bucket?",
    "s3//bucket/runs": "did you mean s3://bucket/runs?",
    "s3:\\bucket": "did you mean s3://bucket?",
    "gs:bucket": "did you mean gs://bucket?",
    "http:/host/x": "did you mean http://host/x?",
    "htp://host/x": "htp://host/x",
    "file:bk": "did you mean file:///bk?",
    "file:/x": "did you mean file:///x?",
    "file://": "file:///",
    "file://x": "file:///",
    "file:///a%00b": "file:///",
    "file:///a?b": "%3F",
    "s3:///bucket/runs": "did you mean s3://bucket/runs?",
    "s3://host:9000/bucket": "endpoint_url",
    "s3://bucket/a//b": "single slashes",
    "s3://bucket/a/../b": "single slashes",
    "s3://bucket/a\nb": "single slashes",
    "s3://bucket/a?versionId=1": "no query",
    "s3:// bucket ": "white space",
    "s3://bucket\n": "white space",
    " bk": "white space",
    "c:\\x": "not an address",
    "c:/x": "not an address",
    "\\\\server\\share": "a path or one URL",
    "run:1": "./",
    "~nobody-of-this-name/bk": "no such user",
    "3s://bucket": "a path or one URL",
    "": "a path or a URL",
    "  ": "a path or a URL",
}
Call = Callable[[Any], object]


def opened(address: object) -> None:
    open_store(address).close()  # type: ignore[arg-type]


CALLS: dict[str, Call] = {
    "open_store": opened,
    "open": lambda address: transit.open("store", remote=address).close(),
    "restore": lambda address: transit.restore(address, "restored"),
    "audit": transit.audit,
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and a home of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.parametrize("call", CALLS)
def test_slip_is_refused_and_makes_nothing(call: str) -> None:
    for slip, expected in SLIPS.items():
        with pytest.raises(InvalidInputError) as caught:
            CALLS[call](slip)
        assert expected in str(caught.value)
        assert os.listdir() == []


@pytest.mark.parametrize(
    "call", [transit.open, lambda path: transit.restore("./bucket", path)], ids=["open", "restore"]
)
def test_slip_in_the_place_of_a_stores_folder_is_refused_and_makes_nothing(call: Call) -> None:
    for slip in SLIPS:
        with pytest.raises(InvalidInputError):
            call(slip)
        assert os.listdir() == []


def test_pathlib_eats_a_slash_of_a_url_and_that_is_told() -> None:
    with pytest.raises(InvalidInputError, match="did you mean s3://bucket/runs"):
        open_store(Path("s3://bucket/runs"))


@pytest.mark.parametrize("address", [None, 5, b"bk", ["bk"], b"s3://bucket"], ids=repr)
def test_what_is_no_text_is_refused(address: Any) -> None:
    with pytest.raises(InvalidInputError):
        open_store(address)


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("bk", "here/bk"), ("bk/", "here/bk"), ("bk///", "here/bk"), ("./s3:", "here/s3:"),
        ("./s3://x", "here/s3:/x"), ("../bk", "bk"), ("./~", "here/~"), ("bk~", "here/bk~"),
        ("~/bk", "home/bk"), ("~", "home"), ("s3/bucket", "here/s3/bucket"),
        ("2026-11-28T05:20", "here/2026-11-28T05:20"), ("a/b:c", "here/a/b:c"),
    ],
)  # fmt: skip
def test_what_names_a_folder_names_this_one(address: str, folder: str, tmp_path: Path) -> None:
    assert open_store(address).url == (tmp_path / folder).as_uri()
    with transit.open(address) as log:
        assert log.path == str(tmp_path / folder)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:///a%20b", b"/a b"), ("FILE:///x", b"/x"), ("file://localhost/x/", b"/x"),
        ("file:///b%ff", b"/b\xff"), ("file:///a%3Fb", b"/a?b"),
    ],
)  # fmt: skip
def test_a_file_url_names_the_folder_whose_bytes_it_encodes(address: str, path: bytes) -> None:
    assert open_store(address).url == Path(os.fsdecode(path)).as_uri()
    assert address_folder(address) is None


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("S3://bucket/Runs", "s3://bucket/Runs"), ("s3a://bucket/runs", "s3://bucket/runs"),
        ("s3://bucket//", "s3://bucket"), ("s3://bucket/runs///", "s3://bucket/runs"),
        ("s3://bucket/a%20b", "s3://bucket/a%20b"), ("s3://bucket/me@home/1", "s3://bucket/me@home/1"),
        ("MEMORY://bucket/x", "memory://bucket/x"),
    ],
)  # fmt: skip
def test_a_url_names_this_store(address: str, url: str) -> None:
    store = open_store(address, {"anon": True} if address.lower().startswith("s3") else None)
    assert store.url == url
    store.close()


@pytest.mark.parametrize(
    "address",
    [
        f"s3://KEY:{SECRET}@bucket", f"s3:KEY:{SECRET}@bucket", f"s3:/KEY:{SECRET}@bucket/x",
        f"S3://KEY:{SECRET}@bucket/x", f"s3://KEY:{SECRET}@bucket?x", f"gs://x/{SECRET}@bucket",
        f"s3//KEY:{SECRET}@bucket", f"s3://bucket/x?secret={SECRET}",
    ],
)  # fmt: skip
def test_credentials_in_a_slip_are_not_repeated(address: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_store(address)
    assert SECRET not in str(caught.value)


@pytest.mark.slow
def test_a_prefix_with_an_at_sign_is_written_and_read(moto_remote: Any, tmp_path: Path) -> None:
    url, options = moto_remote
    place = f"{url}/team@home/runs"
    with transit.open(tmp_path / "a", remote=place, storage_options=options) as log:
        log.create("s").append(b"1", durability="tiered")
        assert log.status().remote == place
    assert transit.audit(place, storage_options=options).ok


# The command


@pytest.mark.parametrize(
    ("slip", "way", "what"),
    [
        ("s3:/bucket/runs", "option", "remote"), ("c:\\x", "option", "store"),
        ("s3//bucket", "variable", "remote"), ("file:bk", "variable", "store"),
        ("s3:/bucket/runs", "file", "remote"), ("s3//bucket", "file", "store"),
    ],
)  # fmt: skip
def test_slip_given_to_the_command_is_refused_by_where_it_stands(
    slip: str, way: str, what: str, tmp_path: Path
) -> None:
    here, words, env = tmp_path / "here", ["append", "s"], {}
    if way == "option":
        words, source = [f"--{what}", slip, *words], f"--{what}"
    elif way == "variable":
        env, source = {f"TRANSIT_{what.upper()}": slip}, f"TRANSIT_{what.upper()}"
    else:
        (here / "transit.toml").write_text(f"{what} = '{slip}'\n")
        source = str(here / "transit.toml")
    done = command(None, *words, stdin=b"1", env=env, cwd=here)
    assert done.code == 2
    assert source in done.error["message"]
    assert "not an address" in done.error["message"]
    assert set(os.listdir()) <= {"transit.toml"}


@pytest.mark.parametrize("verb", ["restore", "audit"])
def test_slip_in_an_argument_of_the_command_is_refused(verb: str, tmp_path: Path) -> None:
    more = ["there"] if verb == "restore" else []
    done = command(None, verb, "s3:/bucket/runs", *more, cwd=tmp_path / "here")
    assert done.code == 2
    assert "did you mean s3://bucket/runs?" in done.error["message"]
    assert os.listdir() == []


@pytest.mark.slow
def test_home_is_filled_in_wherever_the_command_takes_an_address(tmp_path: Path) -> None:
    here, home = tmp_path / "here", tmp_path / "home"
    (here / "transit.toml").write_text('store = "~/runs"\nremote = "~/bk"\n')
    assert command(None, "create", "s", cwd=here).code == 0
    assert command(None, "publish", cwd=here).code == 0
    assert command(None, "audit", "~/bk", cwd=here).code == 0
    assert command(None, "restore", "~/bk", "~/again", cwd=here).code == 0
    assert sorted(path.name for path in home.iterdir()) == ["again", "bk", "runs"]
    assert os.listdir() == ["transit.toml"]


# Bugs on purpose


@pytest.mark.parametrize(
    "plant",
    [
        ("_refuse_slips", lambda text: None),
        ("_KNOWN", ()),
        ("_below_home", lambda text: text),
        ("_FOLDERS", ("/", "./", "../", "s3:")),
    ],
    ids=lambda plant: plant[0],
)
def test_bug_on_purpose_is_found(plant: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, *plant)
    quiet = []
    for slip, expected in SLIPS.items():
        try:
            opened(slip)
            quiet.append(slip)
        except InvalidInputError as error:
            if expected not in str(error):
                quiet.append(slip)
    assert quiet
