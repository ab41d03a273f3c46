"""Reads operator-written structures strictly: every fault is one sentence that says where it is."""

from typing import TypeVar

import msgspec

from cordum.core.routing.errors import RoutingConfigError

T = TypeVar("T")


def convert(data: object, shape: type[T], source: str) -> T:
    """`data` (from YAML or JSON) as `shape`; unknown keys and wrong types are refused.

    Args:
        source: what the data came from, for the message: a file name or a key.

    Raises:
        RoutingConfigError: says the source, the place within it, and the fault.
    """
    try:
        return msgspec.convert(data, shape, strict=True)
    except msgspec.ValidationError as error:
        fault, _, where = str(error).partition(" - at ")
        place = where.strip("`").removeprefix("$").lstrip(".") or "top level"
        raise RoutingConfigError(f"{source}: {place}: {fault}") from error
