"""What a rule counts: the questions that whoever counts must answer before the policy is asked (spec-safety 4.8)."""

import hashlib
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import quote

import msgspec

from cordum.core.errors import CordumError
from cordum.core.policy.request import PolicyRequest

MAX_WINDOW_S = 86_400
_LONGEST_KEY = 256
_ABSENT = "!"
_LABELS = "labels."
_FIELDS: dict[str, Callable[[PolicyRequest], str]] = {
    "actor_id": lambda request: request.actor_id,
    "actor_type": lambda request: request.actor_type,
    "tenant": lambda request: request.tenant,
    "topic": lambda request: request.topic,
    "pack_id": lambda request: request.pack_id,
    "capability": lambda request: request.capability,
}


class BadKeyError(CordumError):
    """The key names something that cannot be counted by."""

    code: ClassVar[str] = "bad_velocity_key"


class VelocityQuery(msgspec.Struct, frozen=True):
    """How many requests of this `key` were there within the last `window_s` seconds: more than `max_requests`?

    `job_id` is the request's own, so that a repeated question about one job counts once; it may be empty.
    """

    rule_id: str
    key: str
    window_s: int
    max_requests: int
    job_id: str = ""


def key_of(template: str) -> Callable[[PolicyRequest], str]:
    """Makes a request's key from `tenant:labels.user` and the like. Raises BadKeyError.

    What the request leaves out counts as one value of its own (`!`, which no quoted text has), so that leaving it out
    evades no limit.
    """
    parts = [_part(part.strip()) for part in template.split(":")]

    def key(request: PolicyRequest) -> str:
        text = ":".join(quote(part(request), safe="") or _ABSENT for part in parts)
        return text if len(text) <= _LONGEST_KEY else "sha256." + hashlib.sha256(text.encode()).hexdigest()

    return key


def _part(name: str) -> Callable[[PolicyRequest], str]:
    if name in _FIELDS:
        return _FIELDS[name]
    if name.startswith(_LABELS) and len(name) > len(_LABELS):
        label = name[len(_LABELS) :]
        return lambda request: request.labels.get(label, "")
    raise BadKeyError(f'"{name}" is none of: {", ".join(_FIELDS)}, labels.<name>')
