"""Requests as people write them (in tests, on the command line) and as they are shown: the body of the HTTP route."""

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from cordum.core.errors import CordumError
from cordum.core.policy.analysis.region import Body
from cordum.core.policy.request import PolicyRequest, policy_request

Text = Annotated[str, Meta(max_length=8192)]
Words = Annotated[list[Text], Meta(max_length=1000)]
Labels = Annotated[dict[Text, Text], Meta(max_length=1000)]


class BadRequestError(CordumError):
    """This is no request a policy could be asked about."""

    code: ClassVar[str] = "bad_policy_request"


class _Meta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tenant_id: Text = ""
    actor_id: Text = ""
    actor_type: Text = ""
    idempotency_key: Text = ""
    capability: Text = ""
    risk_tags: Words = []
    requires: Words = []
    pack_id: Text = ""
    labels: Labels = {}


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    topic: Text = ""
    job_id: Text = ""
    tenant: Text = ""
    tenant_id: Text = ""
    org_id: Text = ""
    team_id: Text = ""
    workflow_id: Text = ""
    step_id: Text = ""
    principal_id: Text = ""
    priority: Text = ""
    labels: Labels = {}
    effective_config: dict[str, object] | None = None
    content: Annotated[str, Meta(max_length=2**21)] = ""
    content_type: Text = ""
    context: object = None
    meta: _Meta = _Meta()
    capability: Text = ""
    risk_tags: Words = []


def request_from_dict(body: Body) -> PolicyRequest:
    """The request a body stands for, read as the gateway and the kernel read it.

    Raises:
        BadRequestError: an unknown member, or one of the wrong kind; the message names it.
    """
    try:
        asked = msgspec.convert(body, _Request)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"request: {error}") from error
    meta = asked.meta
    labels = {**meta.labels, **asked.labels}
    for name, value in (("workflow_id", asked.workflow_id), ("step_id", asked.step_id)):
        if value:
            labels.setdefault(name, value)
    if asked.context is not None:
        labels["_content.payload_json"] = msgspec.json.encode(asked.context).decode()
    config = b"" if asked.effective_config is None else msgspec.json.encode(asked.effective_config)
    return policy_request(
        asked.topic,
        tenant=asked.tenant.strip() or asked.tenant_id.strip() or asked.org_id.strip() or meta.tenant_id,
        capability=meta.capability or asked.capability,
        risk_tags=meta.risk_tags or asked.risk_tags,
        requires=meta.requires,
        pack_id=meta.pack_id,
        actor_id=meta.actor_id.strip() or asked.principal_id,
        actor_type=meta.actor_type,
        labels=labels,
        effective_config=config,
        job_id=asked.job_id,
        content=asked.content.encode(),
        content_type=asked.content_type,
    )


def request_to_dict(request: PolicyRequest) -> Body:
    """The body that stands for a request; `request_from_dict` gives an equal one back."""
    body: Body = {"topic": request.topic}
    if request.tenant:
        body["tenant"] = request.tenant
    if request.labels:
        body["labels"] = dict(request.labels)
    if request.job_id:
        body["job_id"] = request.job_id
    if request.content:
        body["content"] = request.content.decode(errors="replace")
    if request.content_type:
        body["content_type"] = request.content_type
    if request.effective_config:
        body["effective_config"] = msgspec.json.decode(request.effective_config)
    texts = {
        "actor_id": request.actor_id,
        "actor_type": request.actor_type,
        "capability": request.capability,
        "pack_id": request.pack_id,
    }
    meta: Body = {name: value for name, value in texts.items() if value}
    lists = {"risk_tags": request.risk_tags, "requires": request.requires}
    meta.update({name: sorted(values) for name, values in lists.items() if values})
    if meta:
        body["meta"] = meta
    return body
