"""CAP packets of the bench: one message of each kind is kept and only what differs from job to job is set again."""

import time
from typing import Any

from cap.pb.cordum.agent.v1 import buspacket_pb2 as _bus
from cap.pb.cordum.agent.v1 import handshake_pb2 as _shake
from cap.pb.cordum.agent.v1 import job_pb2 as _job
from cap.pb.cordum.agent.v1 import safety_pb2 as _safety

# The SDK ships no stubs for its messages.
buspacket_pb2: Any = _bus
handshake_pb2: Any = _shake
job_pb2: Any = _job
safety_pb2: Any = _safety

PROTOCOL_VERSION = 1


def handshake(worker_id: str, topics: list[str]) -> bytes:
    """`sys.handshake` of a worker that is ready for `topics`."""
    packet = _packet(worker_id, worker_id)
    shake = packet.handshake
    shake.component_id = worker_id
    shake.role = handshake_pb2.COMPONENT_ROLE_WORKER
    shake.supported_versions.append(PROTOCOL_VERSION)
    shake.sdk_version = "bench"
    shake.agent_name = worker_id
    shake.ready_topics.extend(topics)
    for topic in topics:
        shake.capabilities[topic] = True
    return bytes(packet.SerializeToString())


def heartbeat(worker_id: str, pool: str, capacity: int, active: int, topics: list[str]) -> bytes:
    """`sys.heartbeat`."""
    packet = _packet(worker_id, worker_id)
    beat = packet.heartbeat
    beat.worker_id = worker_id
    beat.type = "bench"
    beat.pool = pool
    beat.max_parallel_jobs = capacity
    beat.active_jobs = active
    beat.agent_name = worker_id
    beat.capabilities.extend(topics)
    return bytes(packet.SerializeToString())


class ResultWriter:
    """Job request packets in, the matching SUCCEEDED result packets out."""

    def __init__(self, worker_id: str) -> None:
        self._request = buspacket_pb2.BusPacket()
        self._result = _packet("unset", worker_id)
        self._result.job_result.worker_id = worker_id
        self._result.job_result.status = job_pb2.JOB_STATUS_SUCCEEDED
        self._result.job_result.execution_ms = 1

    def answer(self, payload: bytes) -> tuple[str, bytes]:
        """(job id, result packet). Echoes the dispatch identity, as CAP asks; raises DecodeError or ValueError."""
        request = self._request
        request.ParseFromString(payload)
        job = request.job_request
        if not job.job_id:
            raise ValueError("the packet holds no job")
        result = self._result
        result.trace_id = request.trace_id
        result.created_at.FromNanoseconds(time.time_ns())
        answer = result.job_result
        answer.job_id = job.job_id
        if job.HasField("dispatch"):
            answer.dispatch.CopyFrom(job.dispatch)
        else:
            answer.ClearField("dispatch")
        return job.job_id, bytes(result.SerializeToString())


class SubmitWriter:
    """`sys.job.submit` packets as the gateway's process would send them."""

    def __init__(self, topic: str, tenant: str, principal: str, sender: str) -> None:
        self._packet = _packet("unset", sender)
        job = self._packet.job_request
        job.topic = topic
        job.priority = job_pb2.JOB_PRIORITY_INTERACTIVE
        job.tenant_id = tenant
        job.principal_id = principal
        job.env["tenant_id"] = tenant
        job.meta.tenant_id = tenant
        job.meta.actor_id = principal
        job.meta.actor_type = job_pb2.ACTOR_TYPE_SERVICE
        job.meta.capability = "bench.run"

    def packet(self, job_id: str) -> bytes:
        packet = self._packet
        packet.trace_id = job_id
        packet.created_at.FromNanoseconds(time.time_ns())
        packet.job_request.job_id = job_id
        return bytes(packet.SerializeToString())


def policy_checks(count: int, topic: str, tenant: str) -> list[bytes]:
    """Different requests (labels, capabilities, tags, actors), so that no cache of decisions flatters the figure."""
    requests = []
    for index in range(count):
        request = safety_pb2.PolicyCheckRequest(
            job_id=f"bench-{index:08d}", topic=topic, tenant=tenant, principal_id=f"agent-{index % 97}"
        )
        request.priority = job_pb2.JOB_PRIORITY_INTERACTIVE
        request.labels["env"] = ("dev", "staging", "production")[index % 3]
        request.labels["run"] = str(index)
        request.meta.tenant_id = tenant
        request.meta.actor_id = request.principal_id
        request.meta.actor_type = job_pb2.ACTOR_TYPE_SERVICE
        request.meta.capability = f"capability.{index % 31}"
        if index % 5 == 0:
            request.meta.risk_tags.append("write")
        requests.append(bytes(request.SerializeToString()))
    return requests


def _packet(trace_id: str, sender: str) -> Any:
    packet = buspacket_pb2.BusPacket(trace_id=trace_id, sender_id=sender, protocol_version=PROTOCOL_VERSION)
    packet.created_at.FromNanoseconds(time.time_ns())
    return packet


def decision(answer: bytes) -> tuple[bool, str]:
    """(whether it is a plain ALLOW, the reason) of a serialised PolicyCheckResponse."""
    response = safety_pb2.PolicyCheckResponse.FromString(answer)
    return response.decision == safety_pb2.DECISION_TYPE_ALLOW, str(response.reason)
