"""Which SELECTs need no more than the last record of each stream.

Owns what is recognised: a SELECT over one table of records that groups, if at all, by `_stream`,
and in which all that depends on a record is a `LAST(x)` of a column. WHERE and all else may use
`_stream` alone, with operators, so that no other record can decide anything, or fail. Such a SELECT
reads another table, which has these records only.

A SELECT with a part that is not known here reads all records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from transit.views.scans.fields import STREAM

Node = dict[str, Any]

LAST: Final = "last"
NODES: Final = frozenset(("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"))
# What makes one value of others, the same one each time.
_EXPRESSIONS: Final = frozenset(
    ("BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION",
     "OPERATOR")
)  # fmt: skip
# The parts of a SELECT; what is common to all tables in `cte_map` is no part of it.
_BEFORE: Final = ("select_list", "group_expressions", "where_clause")
_AFTER: Final = ("having", "modifiers")
_KNOWN: Final = frozenset(
    (*_BEFORE, *_AFTER, "type", "cte_map", "from_table", "group_sets", "aggregate_handling",
     "sample", "qualify")
)  # fmt: skip


def lasts_name(name: str) -> str:
    """What the table of the last records is called; no query can name another so."""
    return f"{name}: the last of each stream"


def within(value: object) -> Iterator[Node]:
    """The nodes of one SELECT, without those of the queries inside of it."""
    if isinstance(value, list):
        for each in value:
            yield from within(each)
    elif isinstance(value, dict) and str(value.get("type")) not in NODES:
        yield value
        for each in value.values():
            yield from within(each)


def is_bare_last(node: Node) -> bool:
    """Whether it is a LAST without an order of its own."""
    return (
        node.get("class") == "FUNCTION"
        and str(node.get("function_name", "")).lower() == LAST
        and not node["order_bys"]["orders"]
    )


def read_lasts(select: Node, tables: Mapping[str, str]) -> None:
    """Have a SELECT that needs no more read the last records alone.

    tables: the names of tables of records, in lower case, and of those of their last records.
    """
    source = select.get("from_table") or {}
    name = str(source.get("table_name", ""))
    last = tables.get(name.lower())
    if last is None or source.get("type") != "BASE_TABLE" or not _is_of_lasts(select):
        return
    source["alias"] = source.get("alias") or name
    source["table_name"] = last
    source["qualified_name"] = {"path": [last]}


def _is_of_lasts(select: Node) -> bool:
    source = select["from_table"]
    if not select.keys() <= _KNOWN or select.get("sample") or select.get("qualify"):
        return False
    if source.get("sample") or source.get("at_clause") or source.get("column_name_alias"):
        return False
    if len(select.get("group_sets") or ()) > 1:
        return False
    names = frozenset((STREAM,))
    if not all(_needs_no_more(select.get(part), names) for part in _BEFORE):
        return False
    # What comes after grouping may name what was selected.
    names |= {str(item.get("alias")).lower() for item in select["select_list"]}
    if not all(_needs_no_more(select.get(part), names) for part in _AFTER):
        return False
    # Without a LAST each record may be a row.
    parts = [select.get(part) for part in ("select_list", *_AFTER)]
    return any(map(is_bare_last, within(parts)))


def _needs_no_more(value: object, names: frozenset[str]) -> bool:
    """Whether an expression, but for its LASTs, reads no column that is not of these names."""
    if isinstance(value, list):
        return all(_needs_no_more(each, names) for each in value)
    if not isinstance(value, dict):
        return True
    kind = value.get("class")
    if kind is not None and kind not in _EXPRESSIONS:
        return False
    if kind == "COLUMN_REF":
        return str(value["column_names"][-1]).lower() in names
    if kind == "FUNCTION":
        if is_bare_last(value):
            return _is_of_a_column(value)
        if not _is_operator(value):
            return False
    return all(_needs_no_more(each, names) for each in value.values())


def _is_of_a_column(last: Node) -> bool:
    # What is computed of a record that is not the last may fail.
    others = (last.get("filter"), last.get("distinct"), last.get("schema"), last.get("catalog"))
    arguments = [each.get("expression") or {} for each in last["arguments"]]
    return not any(others) and [each.get("class") for each in arguments] == ["COLUMN_REF"]


def _is_operator(call: Node) -> bool:
    """Whether a function is called as `+` is, or LIKE: these have names without a letter."""
    name = str(call.get("function_name", ""))
    return bool(name) and not any(each.isalnum() or each == "_" for each in name)
