"""What an output rule asks of a result besides its content."""

from collections.abc import Callable, Mapping

import msgspec

from cordum.core.policy.attachment import selects
from cordum.core.policy.document import EVERYWHERE, OutputRule
from cordum.core.policy.matchers import any_topic
from cordum.core.policy.request import PolicyRequest, fold, fold_all, policy_request


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a result without looking into it. `size` is that of the whole result in bytes."""

    topic: str
    tenant: str = ""
    labels: Mapping[str, str] = {}
    capabilities: tuple[str, ...] = ()
    risk_tags: tuple[str, ...] = ()
    content_type: str = ""
    size: int = 0
    has_error: bool = False
    job_id: str = ""


Test = Callable[[Metadata], bool]


def metadata_test(rule: OutputRule) -> Test:
    """Whether a rule concerns a result. Lists ignore case except topics; what the result does not say never matches."""
    match = rule.match
    tests: list[Test] = []
    if match.topics:
        topics = any_topic(match.topics)
        tests.append(lambda result: topics(result.topic))
    if tenants := fold_all(match.tenants):
        tests.append(lambda result: fold(result.tenant) in tenants)
    if capabilities := fold_all(match.capabilities):
        tests.append(lambda result: not capabilities.isdisjoint(fold_all(result.capabilities)))
    if risk_tags := fold_all(match.risk_tags):
        tests.append(lambda result: not risk_tags.isdisjoint(fold_all(result.risk_tags)))
    if content_types := fold_all(match.content_types):
        tests.append(lambda result: _media_type(result.content_type, content_types))
    if match.size_gt > 0:
        tests.append(lambda result: result.size > match.size_gt)
    if match.has_error is not None:
        tests.append(lambda result: result.has_error is match.has_error)
    if rule.selector != EVERYWHERE:
        tests.append(lambda result: selects(rule.selector, _as_request(result)))
    return lambda result: all(test(result) for test in tests)


def _media_type(given: str, wanted: frozenset[str]) -> bool:
    """`text/html; charset=utf-8` is `text/html`; a wanted `text/*` takes every kind of text."""
    plain = fold(given.partition(";")[0])
    return bool(plain) and (plain in wanted or f"{plain.partition('/')[0]}/*" in wanted)


def _as_request(result: Metadata) -> PolicyRequest:
    return policy_request(result.topic, tenant=result.tenant, labels=result.labels, job_id=result.job_id)
