"""The stored request: our writer says what protobuf's own would, and it comes back as it was."""

import json

from cap.pb.cordum.agent.v1 import job_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from cordum.services.gateway import protojson

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
texts = st.dictionaries(text, text, max_size=3)
number = st.integers(0, 2**40)

requests = st.builds(
    job_pb2.JobRequest,
    job_id=text,
    topic=text,
    priority=st.sampled_from(job_pb2.JobPriority.values()),
    context_ptr=text,
    adapter_id=text,
    env=texts,
    memory_id=text,
    context_hints=st.builds(
        job_pb2.ContextHints,
        max_input_tokens=st.integers(0, 2**31 - 1),
        allow_summarization=st.booleans(),
        allow_retrieval=st.booleans(),
        tags=st.lists(text, max_size=2),
    ),
    budget=st.builds(
        job_pb2.Budget,
        max_input_tokens=number,
        max_output_tokens=number,
        max_total_tokens=number,
        deadline_ms=number,
    ),
    tenant_id=text,
    principal_id=text,
    labels=texts,
    meta=st.builds(
        job_pb2.JobMetadata,
        tenant_id=text,
        actor_id=text,
        actor_type=st.sampled_from(job_pb2.ActorType.values()),
        capability=text,
        risk_tags=st.lists(text, max_size=2),
        requires=st.lists(text, max_size=2),
        labels=texts,
    ),
)


@given(requests)
def test_both_writers_agree_and_nothing_is_lost(request: job_pb2.JobRequest) -> None:
    ours = protojson.encode(request)
    theirs = json_format.MessageToDict(request, always_print_fields_with_no_presence=True)
    assert json.loads(ours) == theirs
    assert protojson.decode(ours) == request
    assert protojson.decode(protojson.encode_any(request)) == request
