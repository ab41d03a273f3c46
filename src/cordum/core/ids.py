"""The names of things, as types, so that a tenant is never passed where a job is meant."""

from typing import NewType

JobId = NewType("JobId", str)
TraceId = NewType("TraceId", str)
TenantId = NewType("TenantId", str)
PrincipalId = NewType("PrincipalId", str)
WorkerId = NewType("WorkerId", str)
PoolName = NewType("PoolName", str)
Topic = NewType("Topic", str)
SnapshotId = NewType("SnapshotId", str)
RuleId = NewType("RuleId", str)
DispatchId = NewType("DispatchId", str)

Micros = NewType("Micros", int)
"""A moment: microseconds since the Unix epoch, the unit of every job timestamp (spec-scheduler, preamble)."""

DEFAULT_TENANT = TenantId("default")


def micros(seconds: float) -> Micros:
    """The moment `seconds` after the Unix epoch."""
    return Micros(int(seconds * 1_000_000))
