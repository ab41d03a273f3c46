"""What clients of the event stream get to see of a packet on the bus (spec-gateway section 12)."""

from typing import Any, Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2
from cap.pb.cordum.agent.v1.buspacket_pb2 import BusPacket
from google.protobuf.json_format import MessageToDict

from cordum.core.ids import JobId, TenantId

_OF_JOBS: Final = frozenset({"job_request", "job_result", "job_progress", "job_cancel"})
_SHOWN: Final = _OF_JOBS | {"heartbeat", "alert"}
_TENANT_DETAIL: Final = "tenant_id"


def kind_of(packet: BusPacket) -> str:
    """The packet's payload if it is one that is shown, else ""."""
    kind = packet.WhichOneof("payload")
    return kind if kind in _SHOWN else ""


def job_of(packet: BusPacket, kind: str) -> JobId:
    """The job an event is about; "" for none."""
    return JobId(getattr(packet, kind).job_id) if kind in _OF_JOBS else JobId("")


def tenant_named(packet: BusPacket, kind: str) -> TenantId:
    """The tenant a packet names itself; "" = it names none, and the job's record must be asked."""
    if kind == "job_request":
        request = packet.job_request
        return TenantId(request.meta.tenant_id or request.tenant_id or request.env.get("tenant_id", ""))
    if kind == "alert":
        return TenantId(packet.alert.details.get(_TENANT_DETAIL, ""))
    return TenantId("")


def dispatch_named(packet: BusPacket, kind: str) -> str:
    """The dispatch a worker says it speaks of; "" = it does not say."""
    return str(getattr(packet, kind).dispatch.dispatch_id) if kind in ("job_result", "job_progress") else ""


def rendered(packet: BusPacket, kind: str) -> str:
    """A packet as JSON, without tokens, signatures, and what only machines need. The packet is changed.

    A denied result comes without pointers: what it points to is withheld.
    """
    for name in ("auth_token", "signature", "signature_metadata", "identity"):
        packet.ClearField(name)
    payload = getattr(packet, kind)
    if kind == "job_request":
        for name in ("env", "compensation", "identity"):
            payload.ClearField(name)
        for labels in (payload.labels, payload.meta.labels):
            for name in [name for name in labels if name.startswith("_")]:
                del labels[name]
    elif kind == "heartbeat":
        payload.ClearField("auth_token")
    elif kind == "job_result" and payload.status == job_pb2.JOB_STATUS_DENIED:
        for name in ("result_ptr", "artifact_ptrs", "result_ref", "artifact_refs"):
            payload.ClearField(name)
    if kind in _OF_JOBS and kind != "job_request":
        payload.ClearField("identity")
    document: dict[str, Any] = MessageToDict(packet)
    return msgspec.json.encode(document).decode()
