"""What the safety kernel is asked about a job (spec-scheduler 8.2 step 10)."""

from typing import Final

from cap.pb.cordum.agent.v1 import safety_pb2

from cordum.rpc.content import add_content
from cordum.rpc.convert import check_request_from_job
from cordum.services.scheduler.ticket import Ticket

_OURS: Final = ("approval_", "cordum.", "_content.")
"""Labels the control plane adds on the way or to a question; where a job brings them, they are nobody's word."""


def policy_question(ticket: Ticket) -> safety_pb2.PolicyCheckRequest:
    """The question about a ticket's job, the same as the gateway asked when the job was submitted.

    The context has come with the record, in the same round trip, so asking with it costs no other.
    """
    question = check_request_from_job(ticket.request)
    for name in [name for name in question.labels if name.lower().startswith(_OURS)]:
        del question.labels[name]
    if ticket.context is not None:
        add_content(question, ticket.context)
    return question
