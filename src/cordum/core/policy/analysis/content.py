"""Notes on the rules about content: input rules and output rules."""

from collections.abc import Iterator

import msgspec

from cordum.core.policy.analysis.conditions import conditions_of
from cordum.core.policy.analysis.note import Kind, Level, Note
from cordum.core.policy.analysis.region import Body
from cordum.core.policy.analysis.requests import request_from_dict
from cordum.core.policy.analysis.search import Conditions, Search
from cordum.core.policy.analysis.subject import Subject
from cordum.core.policy.analysis.topics import TooHardError
from cordum.core.policy.compile import compile_policy
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import Combine, ContentMatch, InputRule, Match, OutputRule, PolicyDocument, Rule
from cordum.core.policy.evaluate import evaluate

ContentRule = InputRule | OutputRule


def content_notes(subject: Subject) -> Iterator[Note]:
    """Rules behind one that asks nothing of the content and matches all that they match."""
    document = subject.document
    for rules in (document.input_rules, document.output_rules):
        enabled = [rule for rule in rules if rule.enabled]
        for place, rule in enumerate(enabled):
            for earlier in enabled[:place] if document.combine is Combine.FIRST_MATCH else ():
                if _hides(earlier, rule):
                    yield _unreachable(subject, rule, earlier)
                    break


def _hides(earlier: ContentRule, rule: ContentRule) -> bool:
    alike = (earlier.tier, earlier.selector, earlier.invariant) == (rule.tier, rule.selector, rule.invariant)
    if not alike or _about_jobs(earlier.match) != earlier.match:
        return False
    try:
        return Search([_conditions(rule.match)], [_conditions(earlier.match)]).first() is None
    except TooHardError:
        return False


def _about_jobs(match: ContentMatch) -> ContentMatch:
    """Without what it asks of the content."""
    return ContentMatch(
        tenants=match.tenants, topics=match.topics, capabilities=match.capabilities, risk_tags=match.risk_tags
    )


def _conditions(match: ContentMatch) -> Conditions:
    return conditions_of(
        Match(tenants=match.tenants, topics=match.topics, capabilities=match.capabilities, risk_tags=match.risk_tags)
    )


def _unreachable(subject: Subject, rule: ContentRule, earlier: ContentRule) -> Note:
    where = f"{earlier.id} (line {earlier.line})" if earlier.line else earlier.id
    kind = "input" if isinstance(rule, InputRule) else "output"
    return Note(
        kind=Kind.UNREACHABLE,
        level=Level.ERROR if _milder(earlier, rule) else Level.WARNING,
        rule_id=rule.id,
        line=rule.line,
        message=f"never decides: the {kind} rule {where} takes all that it is about, whatever the content",
        witness=_witness(subject, rule, earlier),
    )


def _milder(earlier: ContentRule, rule: ContentRule) -> bool:
    order = [*type(rule.decision)]
    return order.index(earlier.decision) < order.index(rule.decision)


def _witness(subject: Subject, rule: ContentRule, earlier: ContentRule) -> Body | None:
    """A job that both are about and that the earlier one decides; of input rules only, where it can be seen."""
    found = Search([_conditions(rule.match)], []).first()
    if found is None or not isinstance(rule, InputRule) or not isinstance(earlier, InputRule):
        return None
    body = subject.request(found)
    alone = PolicyDocument(rules=(Rule(id="any", decision=Decision.ALLOW),), input_rules=(earlier, rule))
    decided = msgspec.structs.replace(alone, input_policy=subject.document.input_policy)
    return (
        body
        if evaluate(compile_policy(decided, scanners=subject.scanners), request_from_dict(body)).rule_id == earlier.id
        else None
    )
