"""Sagas: which compensation a succeeded job leaves behind, under which name it runs (spec-scheduler section 15).

A saga is the compensations of one workflow in one tenant, a stack: what succeeded last is undone first. Everything here
follows from the job alone, so that doing any of it twice, by whomever, leads to the same entry and to the same job.
"""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Final

import msgspec

from cordum.core.errors import CordumError
from cordum.core.ids import JobId, TenantId

WORKFLOW_LABEL: Final = "workflow_id"
SAGA_LABEL: Final = "saga_compensation"
COMPENSATION_LABEL: Final = "is_compensation"
SAGA_WORKFLOW_LABEL: Final = "saga_workflow_id"

_TOPIC_PREFIX: Final = "job."
_NOT_INHERITED: Final = ("approval_", "safety_bypass", "cordum.", "_")
"""Labels that speak of the job they are on: its approval, its decision, its message. Its compensation has its own."""
_NOT_INHERITED_ENV: Final = "CORDUM_"
_NAMES: Final = uuid.UUID("6e8f2b1c-53d4-5b0e-9a57-0c7d1f4e8a36")


class ForeignCompensationError(CordumError):
    """A compensation names another tenant than its job's."""

    code = "compensation_of_another_tenant"


class Saga(msgspec.Struct, frozen=True, order=True):
    """The compensations of one workflow. Tenants never share one, whatever their workflows are called."""

    tenant: TenantId
    workflow: str


def workflow_of(field: str, labels: Mapping[str, str]) -> str:
    """The workflow a job belongs to: the request's field, else the label `workflow_id`; "" = none."""
    return field or labels.get(WORKFLOW_LABEL, "")


def is_compensation(labels: Mapping[str, str]) -> bool:
    """Whether a job with these labels undoes another one. Undoing is not undone, and its failure starts no rollback."""
    return labels.get(SAGA_LABEL) == "true" or labels.get(COMPENSATION_LABEL) == "true"


def left_by(topic: str, workflow: str, labels: Mapping[str, str]) -> str:
    """The topic of the compensation a job leaves when it succeeds; "" = it leaves none.

    Args:
        topic: of the compensation in its request. Without a workflow there is nothing that could be rolled back.
    """
    return topic_of(topic) if topic and workflow and not is_compensation(labels) else ""


def check_tenant(tenant: TenantId, *named: str) -> None:
    """Makes sure that a compensation stays with its job's tenant.

    Raises:
        ForeignCompensationError: one of the names a compensation gives its tenant is another one.
    """
    for name in named:
        if name and name != tenant:
            raise ForeignCompensationError(f"the compensation names tenant {name[:128]!r}, its job is of another")


def topic_of(topic: str) -> str:
    """A compensation's topic, with the prefix every topic of jobs has."""
    return topic if topic.startswith((_TOPIC_PREFIX, "sys.")) else _TOPIC_PREFIX + topic


def inherited_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """What a compensation takes over of its job's labels: above all no approval, which was given to the job alone."""
    return {name: value for name, value in labels.items() if not name.lower().startswith(_NOT_INHERITED)}


def inherited_env(env: Mapping[str, str]) -> dict[str, str]:
    """What a compensation takes over of its job's environment: nothing the scheduler put there."""
    return {name: value for name, value in env.items() if not name.startswith(_NOT_INHERITED_ENV)}


def run_labels(saga: Saga) -> dict[str, str]:
    """The labels, and members of the environment, by which a compensation that runs is known."""
    return {SAGA_LABEL: "true", COMPENSATION_LABEL: "true", SAGA_WORKFLOW_LABEL: saga.workflow}


def idempotency_key(workflow: str, job_id: str, topic: str, capability: str, step: int) -> str:
    """The key of a compensation that brings none: the same for the same job, whoever computes it, whenever."""
    parts = [part.strip() for part in (workflow, job_id, topic, capability)] + ([str(step)] if step else [])
    return f"saga:{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32]}"


def compensation_id(saga: Saga, job_id: str) -> JobId:
    """The one job that undoes a job: always under the same name, so a repeated rollback makes no second one."""
    # JSON keeps the three parts apart, whatever is in them.
    named = msgspec.json.encode((saga.tenant, saga.workflow, job_id)).decode()
    return JobId(f"comp-{uuid.uuid5(_NAMES, named)}")
