"""Moments as the API writes and reads them: RFC 3339 text, and cursors of any unit (spec-gateway section 2.7)."""

from datetime import UTC, datetime
from typing import Final

from cordum.core.ids import Micros

_YEAR_9999: Final = 253_402_300_799
_last: tuple[int, str] = (0, "1970-01-01T00:00:00Z")


def rfc3339(seconds: float) -> str:
    """A moment to the second, e.g. `2026-11-23T11:13:45Z`. The last one is kept: a busy second asks for it often."""
    global _last
    whole = int(seconds)
    known, text = _last
    if known != whole:
        text = datetime.fromtimestamp(max(0, min(whole, _YEAR_9999)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        _last = (whole, text)
    return text


def rfc3339_micros(moment: Micros) -> str:
    """A moment to the microsecond; "" for 0, which means never."""
    if moment <= 0:
        return ""
    seconds, micros = divmod(min(moment, _YEAR_9999 * 1_000_000), 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


def micros_of_any_unit(number: int) -> Micros:
    """A moment given in seconds, milli-, micro- or nanoseconds, told apart by magnitude, at the end of its unit."""
    if number < 1_000_000_000_000:
        return Micros(number * 1_000_000 + 999_999)
    if number < 1_000_000_000_000_000:
        return Micros(number * 1_000 + 999)
    if number < 1_000_000_000_000_000_000:
        return Micros(number)
    return Micros(number // 1_000)


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch; 0 for what is no such text."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except ValueError:
        return 0.0
