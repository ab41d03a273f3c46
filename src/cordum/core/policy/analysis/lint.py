"""What is wrong, or looks wrong, with a policy that can be loaded (spec-safety section 14, point 4)."""

from collections.abc import Iterable, Iterator

from cordum.core.output.scanners import SCANNERS, ScannerSet
from cordum.core.policy import yaml_tree
from cordum.core.policy.analysis.content import content_notes
from cordum.core.policy.analysis.note import Kind, Level, Note
from cordum.core.policy.analysis.order import order_notes
from cordum.core.policy.analysis.search import Search
from cordum.core.policy.analysis.spelling import old_spellings
from cordum.core.policy.analysis.subject import Subject
from cordum.core.policy.analysis.tenants import tenant_notes
from cordum.core.policy.analysis.topics import TooHardError
from cordum.core.policy.decision import Decision
from cordum.core.policy.document import InputRule, OutputRule, PolicyDocument, Rule
from cordum.core.policy.parse import parse_policy

_LEVELS = {level: rank for rank, level in enumerate(Level)}


def lint(document: PolicyDocument, *, scanners: ScannerSet = SCANNERS) -> tuple[Note, ...]:
    """Every note, in the order of the file, the worst of a line first. Bounded: what takes too long is said to.

    `scanners` are those the document was parsed with.
    """
    subject = Subject(document, scanners)
    notes = [
        *_names(document),
        *order_notes(subject),
        *content_notes(subject),
        *tenant_notes(subject),
        *_default(subject),
    ]
    return _sorted(notes)


def lint_source(data: bytes) -> tuple[Note, ...]:
    """As `lint`, of a policy as it is written: spelling included. Raises PolicyError for one that cannot be loaded."""
    document = parse_policy(data)
    return _sorted([*lint(document), *old_spellings(yaml_tree.parse(data), document)])


def _sorted(notes: Iterable[Note]) -> tuple[Note, ...]:
    return tuple(sorted(notes, key=lambda note: (note.line, _LEVELS[note.level], note.kind, note.rule_id)))


def _names(document: PolicyDocument) -> Iterator[Note]:
    """Rules that cannot be told apart, or do not say why."""
    every: tuple[Rule | InputRule | OutputRule, ...] = (*document.rules, *document.input_rules, *document.output_rules)
    seen: set[str] = set()
    for rule in every:

        def note(kind: Kind, level: Level, message: str, rule: Rule | InputRule | OutputRule = rule) -> Note:
            return Note(kind=kind, level=level, rule_id=rule.id, line=rule.line, message=message)

        if rule.id in seen:
            message = "another rule has this id too: answers and audit cannot tell them apart"
            yield note(Kind.DUPLICATE_ID, Level.ERROR, message)
        seen.add(rule.id)
        if not rule.named:
            message = "has no id of its own: its name changes when a rule is put before it"
            yield note(Kind.MISSING_ID, Level.WARNING, message)
        if rule.decision.value == Decision.DENY and not rule.reason.strip():
            message = "denies without a reason: whoever is refused learns nothing"
            yield note(Kind.MISSING_REASON, Level.WARNING, message)


def _default(subject: Subject) -> Iterator[Note]:
    if subject.document.default_decision is not Decision.ALLOW:
        return
    try:
        for region in Search([], [ranked.conditions for ranked in subject.rules]).regions():
            body = subject.request(region)
            outcome = subject.outcome(body)
            if outcome.decision.permits and not outcome.rule_id:
                message = "default_decision: allow lets run whatever no rule names, such as this"
                yield Note(kind=Kind.DEFAULT_ALLOW, level=Level.HINT, rule_id="", line=0, message=message, witness=body)
                return
    except TooHardError:
        return
