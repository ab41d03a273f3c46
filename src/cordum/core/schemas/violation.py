"""One thing that is wrong with a payload, in the words of the API: `{path, message}`."""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

LONGEST_PATH: Final = 256  # characters
LONGEST_MESSAGE: Final = 300  # characters

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Violation(msgspec.Struct, frozen=True, order=True):
    """Where the fault is (`$` is the payload itself) and what it is; never the value that was found there."""

    path: str
    message: str


def path_of(steps: Iterable[str | int]) -> str:
    """Steps from the root as `$.orders[3].id`."""
    text = "$"
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}"
        else:
            text += f"[{msgspec.json.encode(step).decode()}]"
        if len(text) > LONGEST_PATH:
            return text[: LONGEST_PATH - 1] + "…"
    return text


def shortened(message: str) -> str:
    """A message of at most LONGEST_MESSAGE characters."""
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
