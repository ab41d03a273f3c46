"""Patterns in tenants' lists that make no difference."""

from collections.abc import Iterator

from cordum.core.policy.analysis.note import Kind, Level, Note
from cordum.core.policy.analysis.subject import Subject
from cordum.core.policy.analysis.topics import TooHardError, topic_where
from cordum.core.policy.document import TenantPolicy


def tenant_notes(subject: Subject) -> Iterator[Note]:
    for name, tenant in subject.document.tenants.items():
        for place, pattern, message in _dead(tenant):
            text = f'tenant {name}: {place} "{pattern}" {message}'
            yield Note(kind=Kind.DEAD_TENANT_TOPIC, level=Level.WARNING, rule_id="", line=0, message=text)


def _dead(tenant: TenantPolicy) -> Iterator[tuple[str, str, str]]:
    for place, patterns in (("deny_topics", tenant.deny_topics), ("allow_topics", tenant.allow_topics)):
        for number, pattern in enumerate(patterns):
            earlier = patterns[:number]
            if not _exists(pattern, ()):
                yield place, pattern, "matches no topic of a job (they start with job.)"
            elif not _exists(pattern, earlier):
                yield place, pattern, "adds nothing to the patterns before it"
            elif place == "allow_topics" and not _exists(pattern, tenant.deny_topics):
                yield place, pattern, "is denied whole by deny_topics, which count more"


def _exists(pattern: str, outside: tuple[str, ...]) -> bool:
    try:
        return topic_where([(pattern,)], outside) is not None
    except TooHardError:
        return True
