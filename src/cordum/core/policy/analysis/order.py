"""Rules that others get in the way of: unreachable ones, conflicts, and an allow-all that stands too early."""

from collections.abc import Iterator

from cordum.core.policy.analysis.conditions import ORDINARY
from cordum.core.policy.analysis.note import Kind, Level, Note
from cordum.core.policy.analysis.region import Body
from cordum.core.policy.analysis.search import Search
from cordum.core.policy.analysis.subject import Ranked, Subject
from cordum.core.policy.analysis.topics import TooHardError, includes, topic_where
from cordum.core.policy.document import EVERYWHERE, Match, Rule
from cordum.core.policy.mcp import LABELS as MCP_LABELS
from cordum.core.policy.rules import EDGE_TOPIC

MOST_LOOKS = 500_000
"""Pairs of rules looked at quickly for conflicts."""
MOST_STEPS = 100_000
"""Regions looked at for the conflicts of one policy: a second or two."""
_EVERY_TOPIC = ("job.*",)


def order_notes(subject: Subject) -> Iterator[Note]:
    """Notes on the rules that decide about jobs."""
    reachable: list[Ranked] = []
    for ranked in subject.rules:
        try:
            if subject.deciding(ranked) is None:
                yield _never_decides(subject, ranked, "never decides")
            elif not _for_ordinary(ranked.rule) or subject.deciding(ranked, (ORDINARY,)) is not None:
                reachable.append(ranked)
            else:
                yield _never_decides(subject, ranked, "never decides about a job, only about MCP requests")
        except TooHardError:
            reachable.append(ranked)
            message = "whether it is ever reached could not be decided within bounds"
            yield _note(Kind.UNDECIDED, Level.HINT, ranked.rule, message)
    yield from _Overlaps(subject).notes(reachable)


def _for_ordinary(rule: Rule) -> bool:
    """Whether the rule is about jobs in general, not about MCP or the edge in particular."""
    return rule.match.mcp is None and EDGE_TOPIC not in rule.match.topics and not MCP_LABELS & rule.match.labels.keys()


def _never_decides(subject: Subject, ranked: Ranked, claim: str) -> Note:
    rule = ranked.rule
    ordinary = ((ORDINARY,),) if _for_ordinary(rule) else ()
    found = Search([*ordinary, ranked.conditions], []).first()
    if found is None:
        level = Level.WARNING if rule.decision.permits else Level.ERROR
        return _note(Kind.NEVER_MATCHES, level, rule, f"no job can match it{_why_never(rule)}")
    body = subject.request(found)
    instead = subject.decider(body)
    other = next((one for one in subject.before(ranked) if one.rule.id == instead), None)
    if other is None or not subject.matches(rule, body):
        return _note(Kind.UNREACHABLE, Level.WARNING, rule, claim)
    alone = Search([*ordinary, ranked.conditions], [other.conditions]).first() is None
    milder = other.rule.decision.severity < rule.decision.severity
    who = f"{_named(other.rule)} {_does(other.rule)}"
    message = (
        f"{claim}: {who} all that it matches, such as this"
        if alone
        else f"{claim}: rules before it take all that it matches; {who} this"
    )
    return _note(Kind.UNREACHABLE, Level.ERROR if milder else Level.WARNING, rule, message, body)


def _why_never(rule: Rule) -> str:
    dead = bool(rule.match.topics) and topic_where([rule.match.topics], ()) is None
    return ": no topic of a job (they start with job.) matches its topics" if dead else ""


class _Overlaps:
    """Stricter rules that lose part of what they mean to milder ones; each is told once, with the worst of them."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._looks = MOST_LOOKS
        self._steps = MOST_STEPS

    def notes(self, reachable: list[Ranked]) -> Iterator[Note]:
        for ranked in reachable:
            self._looks -= len(self._subject.rules)
            if self._looks < 0 or self._steps < 0:
                message = "from here on, conflicts were not looked for: too many rules"
                yield _note(Kind.UNDECIDED, Level.HINT, ranked.rule, message)
                return
            note = self._note_on(ranked)
            if note is not None:
                yield note

    def _note_on(self, ranked: Ranked) -> Note | None:
        rule = ranked.rule
        if rule.decision.permits:
            return None
        before = self._subject.before(ranked)
        milder = [other for other in before if other.rule.decision.severity < rule.decision.severity]
        for other in sorted(milder, key=lambda other: not _takes_everything(other.rule)):
            body = self._taken(ranked, other)
            if body is None:
                continue
            if _takes_everything(other.rule):
                message = f"{_named(other.rule)} {_does(other.rule)} everything before it, this too"
                return _note(Kind.ALLOW_ALL_FIRST, Level.ERROR, rule, message, body)
            message = f"{_named(other.rule)} comes first and {_does(other.rule)} this, which it {_would(rule)}"
            return _note(Kind.CONFLICT, Level.WARNING, rule, message, body)
        return None

    def _taken(self, ranked: Ranked, other: Ranked) -> Body | None:
        """A request both rules match and the other decides; None when none was found."""
        subject, both = self._subject, [ranked.conditions, other.conditions]
        for outside in ([], subject.conditions_before(other, ranked)):
            search = Search(both, outside)
            try:
                found = search.first()
                if found is None:
                    return None
                body = subject.request(found)
            except TooHardError:
                return None
            finally:
                self._steps -= search.used
            milder = subject.outcome(body).decision.severity < ranked.rule.decision.severity
            if milder and subject.decider(body) == other.rule.id and subject.matches(ranked.rule, body):
                return body
        return None


def _takes_everything(rule: Rule) -> bool:
    match = rule.match
    if rule.selector != EVERYWHERE or rule.velocity is not None:
        return False
    try:
        return match == Match(topics=match.topics) and (not match.topics or includes(match.topics, _EVERY_TOPIC))
    except TooHardError:
        return False


def _note(kind: Kind, level: Level, rule: Rule, message: str, witness: Body | None = None) -> Note:
    return Note(kind=kind, level=level, rule_id=rule.id, line=rule.line, message=message, witness=witness)


def _named(rule: Rule) -> str:
    return f"rule {rule.id} (line {rule.line})" if rule.line else f"rule {rule.id}"


_DOES = {
    "ALLOW": "allows",
    "ALLOW_WITH_CONSTRAINTS": "allows",
    "REQUIRE_APPROVAL": "asks approval for",
    "THROTTLE": "throttles",
    "DENY": "denies",
}


_WOULD = {"REQUIRE_APPROVAL": "would ask approval for", "THROTTLE": "would throttle", "DENY": "would deny"}


def _does(rule: Rule) -> str:
    return _DOES[rule.decision.value]


def _would(rule: Rule) -> str:
    return _WOULD[rule.decision.value]
