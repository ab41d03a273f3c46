"""Whose word counts beyond the question itself (spec-safety section 14, point 11).

Labels that begin with `_` say what a service of ours knows about a job: where it came from, who delegated it. Anybody
who reaches the kernel could write them. Where callers show certificates and the trusted ones are named, the others'
are dropped; what they say of a job's content and of the action behind it stays, for that can only tighten.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Final

import grpc
from cap.pb.cordum.agent.v1 import safety_pb2
from google.protobuf.message import DecodeError

from cordum.runtime import logging

SERVICE_PREFIX: Final = "_"
TIGHTENING: Final = ("_content.", "_action.")

_NAMES: Final = ("x509_common_name", "x509_subject_alternative_name")
_MOST_TOLD: Final = 1000

_log = logging.get_logger(__name__)

Context = grpc.aio.ServicerContext[bytes, bytes]


class Callers:
    """Tells trusted callers from others by the names in their certificates: common name, or a subject alternative."""

    def __init__(self, trusted: Iterable[str]) -> None:
        """With no names everybody who gets this far is trusted."""
        self._trusted = frozenset(name.lower() for name in trusted)
        self._told: set[str] = set()

    def trusts(self, context: Context) -> bool:
        """Whether the caller is one of those named."""
        if not self._trusted:
            return True
        shown: Mapping[str, Iterable[bytes]] = context.auth_context()
        names = {name.decode(errors="replace").lower() for key in _NAMES for name in shown.get(key, ())}
        if names & self._trusted:
            return True
        self._tell(", ".join(sorted(names))[:200] or "nobody")
        return False

    def _tell(self, names: str) -> None:
        """Once per caller."""
        if names not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(names)
            _log.warning(
                "a caller is not trusted: its labels that begin with _ are dropped",
                event="untrusted_caller",
                caller=names,
            )


def without_service_labels(request: bytes) -> bytes:
    """A serialised PolicyCheckRequest without the labels only a service of ours may set; as it is when unreadable."""
    try:
        asked = safety_pb2.PolicyCheckRequest.FromString(request)
    except DecodeError:
        return request
    _drop(asked.labels)
    if asked.HasField("meta"):
        _drop(asked.meta.labels)
    cleaned: bytes = asked.SerializeToString()
    return cleaned


def _drop(labels: MutableMapping[str, str]) -> None:
    for name in [name for name in labels if name.startswith(SERVICE_PREFIX) and not name.startswith(TIGHTENING)]:
        del labels[name]
