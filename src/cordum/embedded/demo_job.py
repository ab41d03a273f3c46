"""The three jobs of the demo, and what must become of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cordum.core.jobs.states import TERMINAL

ENDED = frozenset(state.value for state in TERMINAL)


@dataclass(frozen=True)
class DemoJob:
    """What is submitted, and the verdict, rule and output that must follow (shipped in `config/safety.yaml`)."""

    title: str
    request: Mapping[str, object]
    verdict: str
    rule: str
    output: Mapping[str, object] | None = field(default=None)


GREET = DemoJob(
    "greet a customer",
    {"prompt": "Ada", "topic": "job.demo.greet"},
    "ALLOW",
    "everyday-work",
    {"greeting": "Hello, Ada!", "worker": "demo-worker"},
)
DELETE = DemoJob(
    "delete old records",
    {"prompt": "everything before 2020", "topic": "job.demo.delete", "risk_tags": ["destructive"]},
    "DENY",
    "no-destructive-actions",
)
TRANSFER = DemoJob(
    "pay an invoice",
    {
        "prompt": "invoice 4711",
        "topic": "job.demo.transfer",
        "risk_tags": ["payment"],
        "context": {"amount": 120, "to": "ACME"},
    },
    "REQUIRE_APPROVAL",
    "money-needs-a-person",
    {"paid": 120, "to": "ACME", "worker": "demo-worker"},
)
