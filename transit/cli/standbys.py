"""Standbys as the command has them: opened by the configuration, and shown as rows."""

from __future__ import annotations

from collections.abc import Mapping

import transit
from transit import Standby, StandbyStatus, Takeover
from transit.cli.configuration import reachable
from transit.cli.opening import Session
from transit.cli.output import plain
from transit.cli.values import moment_text


def open_standby(context: Session, folder: str) -> Standby:
    """A standby in `folder` of the store in the configured remote."""
    remote = context.required_remote()
    return transit.standby(
        reachable(folder),
        remote,
        storage_options=context.storage_options(remote),
        settings=context.configuration.settings,
        keyring=context.keyring,
    )


def standby_row(status: StandbyStatus) -> Mapping[str, object]:
    """Where a standby stands, and what a takeover may miss, in words too."""
    row = plain(status)
    row["written"] = moment_text(status.written) if status.written else None
    row["looked"] = moment_text(status.looked) if status.looked else None
    row["may_miss"] = may_miss(status.written)
    return row


def takeover_row(takeover: Takeover) -> Mapping[str, object]:
    """A takeover, and what it missed as far as that was counted."""
    row = plain(takeover)
    row["written"] = moment_text(takeover.written) if takeover.written else None
    row["at"] = moment_text(takeover.at)
    row["missed"] = [{**plain(each), "at": moment_text(each.at)} for each in takeover.missed]
    row["missed_records"] = takeover.missed_records
    return row


def may_miss(written: int) -> str:
    """What a takeover may miss whose last record was written at that time."""
    since = f"written after {moment_text(written)}" if written else "written so far"
    return (
        f"records {since}, acknowledged as memory, os or local, and not published; "
        "none acknowledged as tiered"
    )
