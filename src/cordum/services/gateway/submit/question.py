"""What the safety kernel is asked about a job: at submit, when somebody approves it, and by the scheduler alike."""

from cap.pb.cordum.agent.v1 import job_pb2, safety_pb2

from cordum.rpc.content import add_content
from cordum.rpc.convert import check_request_from_job


def question(job: job_pb2.JobRequest, document: bytes) -> safety_pb2.PolicyCheckRequest:
    """The question about a job with its context document, as it will be stored.

    What the job says goes into the question only, never into the job's own labels.
    """
    asked = check_request_from_job(job)
    add_content(asked, document)
    return asked


def question_again(job: job_pb2.JobRequest, context: bytes | None) -> safety_pb2.PolicyCheckRequest:
    """The same question about a stored job, from its stored context."""
    return question(job, context) if context else check_request_from_job(job)
