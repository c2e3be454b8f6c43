"""Hostile exports, configuration files and traces, and what is done to them in a process apart.

Each case says how it must end: a command with one of the exit codes that say what is wrong, which
1, for an unexpected error, is not; a trace with "ok", where all events can be given, or with the
error of transit's that tells why not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import transit
from rigs.fuzz.make_seeds import exports
from rigs.fuzz.reseal import chain
from transit import trace
from transit.cli import main

MIB = 1024 * 1024
USAGE, NOT_FOUND, CORRUPT = "2", "3", "7"

Build = Callable[[], bytes]
CASES: dict[str, tuple[set[str], str, Build]] = {}
"""By name: how it must end, what it is ("import", "config" or "trace"), and its bytes."""

PLAIN, CHAIN, _ = exports()
ROOT = b'{"type":"stream","name":"one","kind":"root","own":1}\n'


def record(payload: bytes = b'"x"', more: bytes = b"") -> bytes:
    return b'{"stream":"one","payload":%b%b}\n' % (payload, more)


def add(kind: str, outcomes: set[str], builds: dict[str, Build]) -> None:
    for name, build in builds.items():
        assert name not in CASES
        CASES[name] = (outcomes, kind, build)


def child(name: str, parent: str, offset: str, more: str = "") -> bytes:
    text = (
        f'{{"type":"stream","name":"{name}","kind":"branch","parents":'
        f'[{{"stream":"{parent}","offset":{offset}}}]{more}}}\n'
    )
    return text.encode()


add(
    "import",
    {USAGE},
    {
        "import_of_nothing": lambda: b"",
        "import_of_zeros": lambda: bytes(10 * MIB),
        "import_nested_deep": lambda: b"[" * MIB,
        "import_nested_deep_in_a_stream": lambda: b'{"type":"stream","name":' + b"[" * MIB,
        "import_of_one_endless_line": lambda: b'{"stream":"one","payload":"' + b"x" * 110 * MIB,
        "import_not_utf8": lambda: ROOT + record(b'"\xff\xfe"'),
        "import_of_half_a_surrogate_pair": lambda: ROOT + record(b'"\\ud800"'),
        "import_of_a_huge_number": lambda: ROOT + record(b'"x"', b',"offset":' + b"9" * 100_000),
        "import_of_a_time_without_end": lambda: (
            ROOT + record(b'"x"', b',"timestamp":"' + b"9" * 400 + b'd"')
        ),
        "import_of_a_time_of_many_digits": lambda: (
            ROOT + record(b'"x"', b',"timestamp":"' + b"9" * 100_000 + b'd"')
        ),
        "import_of_a_time_beyond_64_bits": lambda: (
            ROOT + record(b'"x"', b',"timestamp":"9999-12-31T23:59:59Z"')
        ),
        "import_of_junk_as_base64": lambda: ROOT + record(b'"=A=="', b',"encoding":"base64"'),
        "import_of_an_encoding_of_tomorrow": lambda: ROOT + record(b'"x"', b',"encoding":"rot13"'),
        "import_of_a_record_of_nobody": record,
        "import_of_a_name_of_a_mebibyte": lambda: ROOT.replace(b"one", b"n" * MIB).replace(
            b"1}", b"0}"
        ),
        "import_of_the_stores_own_name": lambda: ROOT.replace(b"one", b"$lineage").replace(
            b"1}", b"0}"
        ),
        "import_of_a_name_that_is_a_control": lambda: ROOT.replace(b"one", b"\\u0000").replace(
            b"1}", b"0}"
        ),
        "import_of_one_name_twice": lambda: ROOT + record() + ROOT + record(),
        "import_of_large_headers": lambda: (
            ROOT + record(b'"x"', b',"headers":{"k":"' + b"v" * MIB + b'"}')
        ),
        "import_of_large_metadata": lambda: (
            b'{"type":"stream","name":"one","kind":"root","metadata":{"k":"' + b"v" * MIB + b'"}}\n'
        ),
        "import_of_nobodys_policy": lambda: PLAIN.replace(b'"append"', b'"custom:mine"'),
        "import_of_a_record_too_large": lambda: ROOT + record(b'"' + b"x" * 17 * MIB + b'"'),
    },
)

add(
    "import",
    {CORRUPT},
    {
        "import_of_a_count_that_lies": lambda: ROOT + record() + record(),
        "import_of_a_count_without_end": lambda: ROOT.replace(b":1}", b":9000000000000000000}"),
        "import_of_an_offset_that_lies": lambda: ROOT + record(b'"x"', b',"offset":7'),
        "import_of_an_offset_below_nothing": lambda: ROOT + record(b'"x"', b',"offset":-1'),
        "import_of_a_fork_beyond_its_parent": lambda: (
            ROOT
            + record()
            + child("two", "one", "9000000000000000000", ',"inherited":9000000000000000001')
        ),
        "import_of_a_fork_that_inherits_more": lambda: (
            ROOT + record() + child("two", "one", "0", ',"inherited":99')
        ),
        "import_of_a_merge_of_one": lambda: PLAIN.replace(
            b'"parents":[{"stream":"one","offset":1},', b'"parents":['
        ),
        "import_of_a_merge_of_another_count": lambda: PLAIN.replace(
            b'"inherited":2', b'"inherited":9000000000000000000'
        ),
        "import_of_a_merge_of_another_version": lambda: PLAIN.replace(
            b'"version":1', b'"version":9'
        ),
        "chain_of_another_hash": lambda: CHAIN.replace(b'"hash":"', b'"hash":"0', 1),
        "chain_cut_short": lambda: CHAIN.splitlines(keepends=True)[0],
        "chain_in_another_order": lambda: b"".join(
            [(lines := CHAIN.splitlines(keepends=True))[0], lines[2], lines[1]]
        ),
        "chain_changed": lambda: CHAIN.replace(b"hello", b"h3llo"),
        "chain_nested_deep": lambda: b'{"hash":"a","data":' + b"[" * MIB,
        "chain_of_facts_nested_deep": lambda: chain(
            CHAIN.splitlines()[0].replace(b'"data":"', b'"data":"' + b"[" * 100_000)
        ),
        "chain_of_two_first_lines": lambda: chain(CHAIN.splitlines(keepends=True)[0] * 2),
        "chain_of_junk": lambda: b'{"hash":"' + b"\xff" * MIB,
    },
)

add(
    "import",
    {NOT_FOUND},
    {
        "import_of_a_branch_of_nobody": lambda: child("two", "nobody", "0", ',"inherited":1'),
        "import_of_a_branch_of_itself": lambda: child("two", "two", "-1"),
        "import_of_a_policy_of_tomorrow": lambda: PLAIN.replace(b'"append"', b'"newest"'),
    },
)

add(
    "config",
    {USAGE},
    {
        "config_not_utf8": lambda: b'store = "\xff"',
        "config_nested_deep": lambda: b"limits = " + b"[" * 100_000,
        "config_of_two_mebibytes": lambda: b"#" * 2 * MIB,
        "config_of_a_huge_number": lambda: b"[limits]\nseal_bytes = " + b"9" * 4000,
        "config_of_an_endless_number": lambda: b"[limits]\nseal_bytes = " + b"9" * 100_000,
        "config_of_no_number": lambda: b"[limits]\nremote_timeout_s = nan\n",
        "config_of_a_table_for_a_text": lambda: b"[store]\na = 1",
        "config_of_a_text_for_a_table": lambda: b'limits = "x"',
        "config_of_nobodys_key": lambda: b"sotre = 1",
        "config_of_a_secret": lambda: (
            b'[remote_options]\nclient_kwargs = {aws_secret_access_key = "x"}'
        ),
        "config_of_a_mode_of_tomorrow": lambda: b'mode = "all"',
    },
)

# Traces: the payloads of one stream's records, one a line.

TEXT = b'"' + b"x" * MIB + b'"'
CUSTOM = b'{"event":"custom","name":"n","data":%b,"parts":[%b]%b}'

add(
    "trace",
    {"CorruptError"},
    {
        "trace_of_one_part_a_million_times": lambda: (
            CUSTOM
            % (
                b'{"list":[' + b"0," * MIB + b"0]}",
                TEXT,
                b"",
            )
        ),
        "trace_of_one_run_a_million_times": lambda: (
            CUSTOM
            % (
                b'{"items":0}',
                TEXT,
                b',"lists":[[-1,[' + b"[0,1]," * MIB + b"[0,1]]]]",
            )
        ),
        "trace_of_lists_of_lists": lambda: (
            CUSTOM
            % (
                b'{"list":[' + b'{"items":99999},' * 99_999 + b'{"items":99999}]}',
                b"1",
                b',"lists":[[-1,[[0,1]]]'
                + b"".join(b",[%d,[[0,1]]]" % n for n in range(99_999))
                + b"]",
            )
        ),
        "trace_of_a_list_of_itself": lambda: (
            CUSTOM % (b'{"items":0}', b"1", b',"lists":[[0,[[0,1]]]]')
        ),
        "trace_of_a_circle_of_lists": lambda: (
            CUSTOM
            % (
                b'{"items":0}',
                b"1",
                b',"lists":[[1,[[0,1]]],[0,[[0,1]]]]',
            )
        ),
        "trace_of_a_part_of_tomorrow": lambda: CUSTOM % (b"99", b"1", b""),
        "trace_of_a_part_of_a_huge_number": lambda: CUSTOM % (b"9" * 1000, b"1", b""),
        "trace_of_a_list_of_nobody": lambda: CUSTOM % (b'{"items":7}', b"1", b""),
        "trace_of_members_of_a_number": lambda: (
            CUSTOM
            % (
                b'{"part":0,"fields":{"a":{"value":1}}}',
                b"1",
                b"",
            )
        ),
        "trace_of_a_message_that_is_a_text": lambda: (
            CUSTOM % (b'{"value":{},"message":0}', b'"x"', b"")
        ),
        "trace_of_another_digest": lambda: CUSTOM % (b"0", b'{"a":1}', b',"digest":"00000000"'),
    },
)

add(
    "trace",
    {"ok"},
    {
        "trace_nested_deep": lambda: b"[" * 100_000,
        "trace_nested_deep_and_whole": lambda: b"[" * 500 + b"]" * 500,
        "trace_of_values_nested_deep": lambda: (
            CUSTOM
            % (
                b'{"list":[' * 5000 + b"0" + b"]}" * 5000,
                b"1",
                b"",
            )
        ),
        "trace_of_values_nested": lambda: (
            CUSTOM
            % (
                b'{"list":[' * 150 + b"0" + b"]}" * 150,
                b"1",
                b"",
            )
        ),
        "trace_of_junk": lambda: b"\xff\xfe" * MIB,
        "trace_of_a_large_text": lambda: CUSTOM % (b'{"value":' + TEXT * 1 + b"}", b"", b""),
        "trace_of_a_huge_number": lambda: (
            b'{"event":"custom","name":"n","data":' + b"9" * 100_000 + b"}"
        ),
        "trace_of_half_a_surrogate_pair": lambda: b'{"event":"\\ud800","\\udc00":1}',
        "trace_of_strange_names": lambda: (
            b'{"event":"message","\\ud800":1,"message":{"value":{"\\ud800":1}}}'
        ),
        "trace_of_another_code": lambda: '{"event":"run_end"}'.encode("utf-32"),
        "trace_of_a_kind_of_tomorrow": lambda: (
            b'{"event":"dream","parts":[{"a":1}],"lists":[[7,[[9,9]]]]}'
        ),
        "trace_of_runs_of_a_huge_number": lambda: (
            b'{"parts":[1],"lists":[[-1,[' + b"[0,1000000000]," * 1000 + b"[0,1000000000]]]]}"
        ),
        "trace_of_a_hundred_thousand_parts": lambda: b'{"parts":[' + b"1," * 100_000 + b"1]}",
    },
)


def run(name: str) -> Callable[[], list[str]]:
    """Import, configure or read a trace, and say how it ended."""
    _, kind, build = CASES[name]
    place = tempfile.TemporaryDirectory(prefix="transit-hostile-")
    root = Path(place.name)
    data = build()
    if kind == "trace":
        with transit.open(root / "s", durability="os") as log:
            stream = log.create("t")
            for line in data.split(b"\n"):
                stream.append(line)
    elif kind == "import":
        (root / "x.jsonl").write_bytes(data)
    else:
        (root / "transit.toml").write_bytes(data)
    del data
    words = {
        "import": ["--store", str(root / "s"), "import", str(root / "x.jsonl")],
        "config": ["--config", str(root / "transit.toml"), "config"],
    }

    def step() -> list[str]:
        with place:
            return [traced(root / "s")] if kind == "trace" else [str(main(words[kind]))]

    return step


def traced(root: Path) -> str:
    """How reading all of a trace ends, and writing on; the first that is not "ok"."""
    try:
        with transit.open(root, durability="os") as log:
            made = trace.read(log, "t")
            events = [record.event for record in made]
            assert len(events) == len(made)
            assert made.ended is None or made.open_calls == ()
            with trace.task(log, "other", actor="a", reason="r") as task:
                task.message("user", "hello")
    except transit.TransitError as error:
        return type(error).__name__
    return "ok"
