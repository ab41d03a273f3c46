"""`job:req:<id>`: the CAP request as protobuf's JSON, defaults included.

protobuf's own JSON writer takes longer than everything else a submit does together; for the one message we write a
thousand times a second this spells out its fields. A test holds it against the original.
"""

from typing import Any, Final

import msgspec
from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf import json_format

from cordum.core.errors import CordumError

_ENCODER: Final = msgspec.json.Encoder()
_PRIORITY: Final = dict(zip(job_pb2.JobPriority.values(), job_pb2.JobPriority.keys(), strict=True))
_ACTOR: Final = dict(zip(job_pb2.ActorType.values(), job_pb2.ActorType.keys(), strict=True))


class BadRequestSnapshotError(CordumError):
    """The stored request of a job cannot be read."""

    code = "job_request_unreadable"


def encode(job: job_pb2.JobRequest) -> bytes:
    """The JSON of a request as the gateway makes it: no compensation, identity, dispatch or context reference."""
    hints, budget, meta = job.context_hints, job.budget, job.meta
    document: dict[str, Any] = {
        "jobId": job.job_id,
        "topic": job.topic,
        "priority": _PRIORITY[job.priority],
        "contextPtr": job.context_ptr,
        "adapterId": job.adapter_id,
        "env": dict(job.env),
        "parentJobId": job.parent_job_id,
        "workflowId": job.workflow_id,
        "stepIndex": job.step_index,
        "memoryId": job.memory_id,
        "contextHints": {
            "maxInputTokens": hints.max_input_tokens,
            "allowSummarization": hints.allow_summarization,
            "allowRetrieval": hints.allow_retrieval,
            "tags": list(hints.tags),
        },
        "budget": {
            "maxInputTokens": str(budget.max_input_tokens),
            "maxOutputTokens": str(budget.max_output_tokens),
            "maxTotalTokens": str(budget.max_total_tokens),
            "deadlineMs": str(budget.deadline_ms),
        },
        "tenantId": job.tenant_id,
        "principalId": job.principal_id,
        "labels": dict(job.labels),
        "meta": {
            "tenantId": meta.tenant_id,
            "actorId": meta.actor_id,
            "actorType": _ACTOR[meta.actor_type],
            "idempotencyKey": meta.idempotency_key,
            "capability": meta.capability,
            "riskTags": list(meta.risk_tags),
            "requires": list(meta.requires),
            "packId": meta.pack_id,
            "labels": dict(meta.labels),
        },
    }
    return _ENCODER.encode(document)


def encode_any(job: job_pb2.JobRequest) -> bytes:
    """The JSON of any request, whoever made it."""
    text: str = json_format.MessageToJson(job, indent=None, always_print_fields_with_no_presence=True)
    return text.encode()


def decode(data: bytes) -> job_pb2.JobRequest:
    """Reads a stored request; members we do not know are left out.

    Raises:
        BadRequestSnapshotError: it is no such JSON.
    """
    job = job_pb2.JobRequest()
    try:
        json_format.Parse(data, job, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BadRequestSnapshotError(f"the stored request cannot be read: {error}") from error
    return job
