"""Error words as CAP's error numbers (spec-scheduler 3.2)."""

from typing import Final

from cap.pb.cordum.agent.v1 import job_pb2

_NUMBERS: Final = {
    "approval_invalidated": job_pb2.ERROR_CODE_SAFETY_DENIED,
    "approval_rejected": job_pb2.ERROR_CODE_SAFETY_DENIED,
    "policy_denied": job_pb2.ERROR_CODE_SAFETY_DENIED,
    "safety_denied": job_pb2.ERROR_CODE_SAFETY_DENIED,
    "safety_unknown": job_pb2.ERROR_CODE_SAFETY_DENIED,
    "output_quarantined": job_pb2.ERROR_CODE_SAFETY_POLICY_VIOLATION,
    "policy_violation": job_pb2.ERROR_CODE_SAFETY_POLICY_VIOLATION,
    "max_scheduling_retries": job_pb2.ERROR_CODE_JOB_RESOURCE_EXHAUSTED,
    "max_retries_exceeded": job_pb2.ERROR_CODE_JOB_RESOURCE_EXHAUSTED,
    "approval_expired": job_pb2.ERROR_CODE_JOB_TIMEOUT,
    "timeout": job_pb2.ERROR_CODE_JOB_TIMEOUT,
    "permission_denied": job_pb2.ERROR_CODE_JOB_PERMISSION_DENIED,
    "worker_lost": job_pb2.ERROR_CODE_JOB_WORKER_UNAVAILABLE,
    "unknown_topic": job_pb2.ERROR_CODE_JOB_INVALID_INPUT,
    "schema_validation_failed": job_pb2.ERROR_CODE_JOB_INVALID_INPUT,
    "schema_not_found": job_pb2.ERROR_CODE_JOB_INVALID_INPUT,
    "schema_invalid": job_pb2.ERROR_CODE_JOB_INVALID_INPUT,
}


def error_code_enum(code: str) -> "job_pb2.ErrorCode.ValueType":
    """The number for an error word; unspecified when there is none."""
    return _NUMBERS.get(code, job_pb2.ERROR_CODE_UNSPECIFIED)
