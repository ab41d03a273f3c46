"""The judge answers from memory exactly what it would answer afresh."""

from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from cordum.core.ids import SnapshotId
from cordum.core.policy.compile import CompiledPolicy, compile_policy
from cordum.core.policy.parse import parse_policy
from cordum.services.safety_kernel.judge import Judge

POLICIES = [
    compile_policy(parse_policy(text.encode()))
    for text in (
        "rules: [{id: a, match: {topics: [job.a]}, decision: allow}, {id: b, decision: require_approval}]",
        """
rules:
  - {id: j, tier: job, selector: {job_id: job/j1/policy}, decision: allow}
  - {id: e, tier: job, selector: {job_id: e1}, decision: throttle}
  - {id: w, tier: workflow, selector: {workflow_id: w}, decision: deny}
  - {id: a, match: {topics: [job.a]}, decision: allow}
""",
        """
default_decision: allow
input_rules: [{id: kw, match: {keywords: [bomb]}, decision: deny}, {id: s, match: {input_size_gt: 9}, decision: deny}]
""",
    )
]

requests = st.builds(
    safety_pb2.PolicyCheckRequest,
    job_id=st.sampled_from(["", "j1", "j2", "e1", "job/j1/policy", "j\u00e9", "x" * 200]),
    topic=st.sampled_from(["job.a", "job.b", "sys.a", ""]),
    tenant=st.sampled_from(["", "acme"]),
    labels=st.dictionaries(
        st.sampled_from(["job_id", "edge.job_id", "workflow_id", "policy.attachment_id", "_content.prompt"]),
        st.sampled_from(["j1", "e1", "w", "job/j1/policy", "bomb"]),
        max_size=2,
    ),
    meta=st.builds(job_pb2.JobMetadata, risk_tags=st.just(["x"])),
    input_content=st.sampled_from([b"", b"bomb", b"x" * 20, b"y" * 5000]),
    effective_config=st.sampled_from([b"", b"{bad"]),
).map(lambda request: request.SerializeToString(deterministic=True))


def answer_of(judge: Judge, request: bytes) -> bytes:
    read = safety_pb2.PolicyCheckResponse.FromString(judge.answer(request))
    answer: bytes = read.SerializeToString(deterministic=True)
    return answer


@settings(max_examples=200, deadline=None)
@given(policy=st.sampled_from(POLICIES), asked=st.lists(requests, min_size=2, max_size=12))
def test_what_is_remembered_is_what_would_be_decided(policy: CompiledPolicy, asked: list[bytes]) -> None:
    remembering = Judge()
    remembering.adopt(policy, SnapshotId("1:x"))
    for request in [*asked, *asked]:
        fresh = Judge()
        fresh.adopt(policy, SnapshotId("1:x"))
        assert answer_of(remembering, request) == answer_of(fresh, request)
