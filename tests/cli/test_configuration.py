"""Where a setting comes from, which one wins, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

import transit as engine
from transit.cli.configuration import Effective, Setting, effective
from transit.cli.failures import CommandError
from transit.cli.flags import Flags

from .conftest import Command


def configured(
    folder: Path,
    text: str | None = None,
    environment: dict[str, str] | None = None,
    **given: str,
) -> Effective:
    if text is not None:
        (folder / "transit.toml").write_text(text, encoding="utf-8")
    flags = Flags()
    for name, value in given.items():
        setattr(flags, name, value)
    return effective(flags, environment or {}, str(folder))


def refused(folder: Path, text: str | None = None, **given: object) -> CommandError:
    with pytest.raises(CommandError) as caught:
        configured(folder, text, **given)  # type: ignore[arg-type]
    return caught.value


def test_without_anything_the_defaults_of_the_engine_hold(tmp_path: Path) -> None:
    found = configured(tmp_path)
    assert (found.store, found.remote, found.file) == (None, None, None)
    assert (found.durability, found.mode) == ("local", "exclusive")
    assert found.settings == engine.Settings()
    assert {row["source"] for row in found.rows()} == {"default"}


def test_file_then_environment_then_flags_win(tmp_path: Path) -> None:
    text = 'store = "a"\nremote = "s3://a"\nmode = "shared"\n[limits]\nseal_bytes = 4096\n'
    environment = {
        "TRANSIT_STORE": "b",
        "TRANSIT_REMOTE": "s3://b",
        "TRANSIT_LIMITS_SEAL_BYTES": "",
    }
    found = configured(tmp_path, text, environment, store="c")
    path = str(tmp_path / "transit.toml")
    assert (found.store, found.source("store")) == ("c", "--store")
    assert (found.remote, found.source("remote")) == ("s3://b", "TRANSIT_REMOTE")
    assert (found.mode, found.source("mode")) == ("shared", path)
    assert (found.settings.seal_bytes, found.source("limits.seal_bytes")) == (4096, path)
    assert found.source("durability") == "default"


def test_the_nearest_file_upwards_counts_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    deep = tmp_path / "x" / "y"
    deep.mkdir(parents=True)
    (tmp_path / "transit.toml").write_text('store = "far"\nremote = "away"\n')
    assert configured(deep).store == str(tmp_path / "far")
    assert configured(deep).remote == str(tmp_path / "away")
    (deep.parent / "transit.toml").write_text('store = "near"\n')
    found = configured(deep)
    assert (found.store, found.remote) == (str(deep.parent / "near"), None)


def test_an_address_in_a_file_stays_an_address(tmp_path: Path) -> None:
    found = configured(tmp_path, 'store = "s3://a/b"\nremote = "/abs"\n')
    assert (found.store, found.remote) == ("s3://a/b", "/abs")


def test_a_named_file_is_read_instead_of_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('store = "o"\n')
    text = 'store = "near"\n'
    assert configured(tmp_path, text, config="other.toml").store == str(tmp_path / "o")
    environment = {"TRANSIT_CONFIG": "other.toml"}
    assert configured(tmp_path, text, environment).store == str(tmp_path / "o")
    with pytest.raises(FileNotFoundError):
        configured(tmp_path, text, config="none.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_read_only_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "transit.toml"
    path.write_text('store = "s"\n')
    os.chown(path, 12345, -1)
    assert refused(tmp_path).exit_code == 6
    assert configured(tmp_path, config=str(path)).store == str(tmp_path / "s")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('stor = "x"', "unknown key stor", "did you mean store?"),
        ("[limits]\nseal_byte = 1", "unknown key limits.seal_byte", "limits.seal_bytes?"),
        ("[zzz]\nx = 1", "unknown key zzz", "there are: store, remote"),
        ("limits = 3", "limits must be a table", ""),
        ("store = 3", "store must be text", ""),
        ('store = ""', "store must be text", ""),
        ('mode = "read"', "mode must be one of exclusive, shared", ""),
        ('durability = "disk"', "durability must be one of memory, os, local, tiered", ""),
        ("[limits]\nseal_bytes = 1", "seal_bytes must be", ""),
        ('[limits]\nseal_bytes = "x"', "seal_bytes must be a whole number", ""),
        ("store = ", "not TOML", ""),
        ("\x00", "not TOML", ""),
    ],
)
def test_what_a_file_cannot_mean_is_refused_by_its_name(
    text: str, message: str, hint: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, text)
    assert error.exit_code == 2
    assert str(error).startswith(str(tmp_path / "transit.toml"))
    assert message in str(error)
    assert hint in error.hint


@pytest.mark.parametrize(
    "entry",
    [
        'key = "AKIA"', 'secret = "s"', 'token = "t"', 'password = "p"', 'account_key = "k"',
        'aws_secret_access_key = "s"', 'sas_token = "s"', 'connection_string = "c"', 'Secret = "s"',
        'client_kwargs = { aws_session_token = "t" }', 'client_kwargs = { a = { key = "t" } }',
    ],
)  # fmt: skip
def test_secrets_in_a_file_are_refused_and_not_repeated(entry: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"[remote_options]\n{entry}\n")
    assert "remote_options." in str(error)
    assert "AWS_SECRET_ACCESS_KEY" in error.hint
    assert "AKIA" not in str(error)


def test_other_remote_options_are_taken(tmp_path: Path) -> None:
    text = (
        '[remote_options]\nendpoint_url = "http://a"\nprofile = "p"\nanon = true\n'
        'client_kwargs = { region_name = "r" }\n'
    )
    environment = {"TRANSIT_ENDPOINT_URL": "http://b"}
    assert configured(tmp_path, text, environment).remote_options == {
        "endpoint_url": "http://b",
        "profile": "p",
        "anon": True,
        "client_kwargs": {"region_name": "r"},
    }


@pytest.mark.parametrize("field", msgspec.structs.fields(engine.Settings), ids=lambda f: f.name)
def test_every_limit_can_be_set_by_a_variable(
    field: msgspec.structs.FieldInfo, tmp_path: Path
) -> None:
    few = {"compression": "none", "compression_level": "7", "replicated_remotes": "3"}
    text = few.get(field.name, "128")
    if "bytes" in field.name:
        text = "48MiB" if field.name != "block_bytes" else "1MiB"
    name = f"TRANSIT_LIMITS_{field.name.upper()}"
    found = configured(tmp_path, environment={name: text})
    assert found.source(f"limits.{field.name}") == name
    assert getattr(found.settings, field.name) != field.default


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("TRANSIT_LIMITS_SEAL_BYTES", "x", "is not a size"),
        ("TRANSIT_LIMITS_SEAL_BYTES", "1", "seal_bytes must be"),
        ("TRANSIT_LIMITS_LOCK_TIMEOUT_S", "soon", "could not convert"),
        ("TRANSIT_LIMITS_TRANSFERS_MAX", "1.5", "whole number"),
        ("TRANSIT_LIMITS_COMPRESSION", "lzma", "compression must be"),
        ("TRANSIT_LIMITS_WRONG", "1", "unknown key limits.wrong"),
        ("TRANSIT_MODE", "read", "mode must be one of"),
    ],
)
def test_what_a_variable_cannot_mean_is_refused_by_its_name(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, environment={name: text})
    assert error.exit_code == 2
    assert str(error).startswith(name)
    assert message in str(error)


def test_shown_addresses_hold_no_credentials(tmp_path: Path) -> None:
    given = {
        "remote": Setting("s3://user:pass/word@bucket/x?sig=1", "--remote"),
        "remote_options.endpoint_url": Setting("http://u:p@host", "file"),
    }
    shown = {row["key"]: row["value"] for row in Effective(given, None).rows()}
    assert shown["remote"] == "s3://bucket/x"
    assert shown["remote_options.endpoint_url"] == "http://host"


def test_config_prints_every_key_with_its_source(command: Command, tmp_path: Path) -> None:
    (tmp_path / "transit.toml").write_text('durability = "os"\n')
    rows = {row["key"]: row for row in command("config", "--remote", "r").rows}
    assert set(rows) == {
        "store", "remote", "fleet", "durability", "mode", "keyring", "key_file", "encrypt",
        "token_file", "ca_file", "views", "replicas",
        *(f"limits.{name}" for name in engine.Settings.__struct_fields__),
    }  # fmt: skip
    path = str(tmp_path / "transit.toml")
    assert rows["durability"] == {"key": "durability", "value": "os", "source": path}
    assert rows["remote"] == {"key": "remote", "value": "r", "source": "--remote"}
    assert rows["store"]["source"] == "TRANSIT_STORE"
    assert rows["mode"]["source"] == "default"


def test_the_configured_durability_limits_and_mode_reach_the_store(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "transit.toml").write_text(
        'durability = "os"\nmode = "shared"\n[limits]\nrecord_bytes_max = 4\n'
    )
    with engine.open(tmp_path / "store", mode="shared"):
        done = command("append", "a", "1234", "--create")
        assert done.rows[0]["durability"] == "os"
        assert "record_bytes_max is 4" in command("append", "a", "12345").error["message"]


UNREACHABLE = {
    "TRANSIT_REMOTE": "s3://bucket/x",
    "TRANSIT_ENDPOINT_URL": "http://127.0.0.1:1",
    "TRANSIT_LIMITS_REMOTE_TIMEOUT_S": "1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


def test_work_that_needs_no_remote_leaves_a_configured_one_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("append", "a", "x", "--create")
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    for words in (["read", "a"], ["append", "a", "y"], ["branch", "a", "b"], ["seal"], ["status"]):
        assert command(*words).code == 0, words
    assert command("read", "a", "--raw").out == b"x\ny\n"


@pytest.mark.parametrize(
    "words",
    [
        ["read", "a", "--remote", "s3://bucket/x"],
        ["append", "a", "y", "--remote", "s3://bucket/x"],
        ["append", "a", "y", "--durability", "tiered"],
        ["publish"],
        ["evict", "--bytes-max", "0"],
    ],
)
def test_work_that_needs_the_remote_asks_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    command("append", "a", "x", "--create")
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    assert command(*words).code == 12


@pytest.mark.slow
def test_a_new_store_does_not_begin_beside_a_remote_that_is_out_of_reach(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    assert command("create", "a").code == 12
    monkeypatch.setenv("TRANSIT_DURABILITY", "tiered")
    assert command("append", "a", "x", "--create").code == 12


def test_reading_asks_the_remote_once_segments_are_away(command: Command, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    command("append", "a", "x", "--create")
    with engine.open(tmp_path / "store", remote=remote) as log:
        log.publish()
        log.evict(bytes_max=0)
    gone = command("read", "a")
    assert (gone.code, gone.error["kind"]) == (9, "retention_gap")
    (tmp_path / "transit.toml").write_text('remote = "remote"\n')
    assert [row["payload"] for row in command("read", "a").rows] == ["x"]


def test_a_remote_address_is_a_store_to_read(command: Command, tmp_path: Path) -> None:
    remote = f"file://{tmp_path / 'remote'}"
    command("append", "a", "x", "--create")
    assert command("publish", "--remote", remote).code == 0
    assert [row["payload"] for row in command("read", "a", "--store", remote).rows] == ["x"]
    assert command("append", "a", "x", "--store", remote).code != 0


@pytest.mark.parametrize("verb", ["append", "branch", "merge", "seal", "publish"])
def test_verbs_that_make_nothing_new_do_not_make_a_store(
    verb: str, command: Command, tmp_path: Path
) -> None:
    words = {
        "append": ("a", "x"),
        "branch": ("a", "b"),
        "merge": ("m", "a", "b", "--policy", "base"),
    }
    done = command(verb, *words.get(verb, ()), "--remote", tmp_path / "remote")
    assert done.code == 3
    assert not (tmp_path / "store").exists()


def test_without_a_store_every_verb_says_how_to_name_one(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSIT_STORE")
    for words in (["streams"], ["create", "a"], ["read", "a"], ["export", "--all"]):
        done = command(*words)
        assert done.code == 2
        assert "TRANSIT_STORE" in done.error["hint"]
