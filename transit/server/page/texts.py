"""Facts as a person reads them, for templates.

Owns how names, times, durations and counts are written. Escaping is the templates' own; characters
that are not seen, or that change how others are seen, are shown as escapes here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_JOINERS = "\u200c\u200d"
_UNITS = ((1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIZES = ("KiB", "MiB", "GiB", "TiB")


def readable(text: str, lines: bool = False) -> str:
    """Text with what does not print as escapes; lines: line ends and tabs stay what they are."""
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        each
        if each.isprintable() or each in _JOINERS or each in kept
        else each.encode("unicode_escape").decode()
        for each in text
    )


def duration(ns: int | None) -> str:
    """Nanoseconds for people; "" for what is not known."""
    if ns is None:
        return ""
    below = 1
    for above, unit in _UNITS:
        if ns < above:
            return f"{_three(ns / below)} {unit}"
        below = above
    seconds = ns // 1_000_000_000
    if seconds < 60:
        return f"{_three(ns / 1e9)} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min {seconds % 60} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _three(value: float) -> str:
    return str(round(value)) if value >= 100 else f"{value:.3g}"


def moment(ns: int | None) -> str:
    """UTC to the second, such as "2026-01-31 12:00:00"; "" for what is not known."""
    time = _time(ns)
    return "" if time is None else time.strftime("%Y-%m-%d %H:%M:%S")


def iso(ns: int | None) -> str:
    """The same as a machine reads it, to the microsecond."""
    time = _time(ns)
    return "" if time is None else time.isoformat()


def _time(ns: int | None) -> datetime | None:
    if ns is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=ns // 1000)
    except OverflowError:
        return None


def number(count: int | None) -> str:
    """With commas; "" for what is not known."""
    return "" if count is None else f"{count:,}"


def counted(count: int, what: str) -> str:
    """Such as "1 run", "2 runs"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def cost(amount: float | None) -> str:
    """In whatever currency; "" for what is not known."""
    return "" if amount is None else f"{amount:.6g}"


def size(count: int) -> str:
    """Bytes for people."""
    if count < 1024:
        return counted(count, "byte")
    power = min((count.bit_length() - 1) // 10, len(_SIZES))
    return f"{count / 1024**power:.1f} {_SIZES[power - 1]}"
