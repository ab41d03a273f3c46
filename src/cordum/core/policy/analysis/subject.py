"""A policy to be analysed: its rules in the order in which they decide, and the evaluator to check every claim on."""

import msgspec

from cordum.core.output.scanners import ScannerSet
from cordum.core.policy.analysis.conditions import conditions_of_rule
from cordum.core.policy.analysis.region import Body, Region
from cordum.core.policy.analysis.requests import request_from_dict
from cordum.core.policy.analysis.search import Conditions, Search
from cordum.core.policy.analysis.sketch import Sketch, apart, sketch_of
from cordum.core.policy.analysis.topics import TooHardError
from cordum.core.policy.attachment import PRECEDENCE
from cordum.core.policy.compile import compile_policy
from cordum.core.policy.document import Combine, InputPolicy, PolicyDocument, Rule
from cordum.core.policy.evaluate import evaluate
from cordum.core.policy.outcome import Outcome


class Ranked(msgspec.Struct, frozen=True, eq=False):
    """A rule, its place in the document, and what it asks."""

    rule: Rule
    place: int
    conditions: Conditions
    sketch: Sketch


class Subject:
    """Compiles a document once and answers about it."""

    def __init__(self, document: PolicyDocument, scanners: ScannerSet) -> None:
        self.document = document
        self.scanners = scanners
        self.compiled = compile_policy(document, scanners=scanners)
        self.rules = tuple(
            Ranked(rule, place, conditions_of_rule(rule), sketch_of(rule)) for place, rule in enumerate(document.rules)
        )
        binding = [rule.decision.severity for rule in document.rules if _binds(rule)]
        self._mildest_binding = min(binding, default=0)
        self._rules_alone = compile_policy(
            msgspec.structs.replace(document, input_rules=(), input_policy=InputPolicy())
        )

    def outcome(self, body: Body) -> Outcome:
        """What the evaluator decides."""
        return evaluate(self.compiled, request_from_dict(body))

    def decider(self, body: Body, counted: Rule | None = None) -> str:
        """The id of the rule that decides before input rules have their say; "" for the default. `counted` is a rule
        whose limit is taken to be exceeded."""
        exceeded = frozenset({counted.id}) if counted is not None and counted.velocity is not None else frozenset()
        return evaluate(self._rules_alone, request_from_dict(body), exceeded).rule_id

    def matches(self, rule: Rule, body: Body) -> bool:
        """Whether the evaluator takes the rule to match, were it the only one."""
        alone = msgspec.structs.replace(self.document, rules=(rule,), input_rules=(), tenants={})
        exceeded = frozenset({rule.id}) if rule.velocity is not None else frozenset()
        return evaluate(compile_policy(alone), request_from_dict(body), exceeded).rule_id == rule.id

    def request(self, region: Region) -> Body:
        return region.request(self.document.tenant_of_nobody)

    def before(self, ranked: Ranked | None) -> list[Ranked]:
        """The rules that certainly go first where both match; None stands for the default, which all go before.

        What is not certain is left out: that can only make a rule look more reachable than it is, and a claim that it
        is reached is checked.
        """
        if ranked is None:
            return list(self.rules)
        return [
            other
            for other in self.rules
            if other is not ranked and self._goes_before(other, ranked) and not apart(other.sketch, ranked.sketch)
        ]

    def conditions_before(self, ranked: Ranked | None, also: Ranked | None = None) -> list[Conditions]:
        """What must not hold for this rule to decide, of what can hold for `also`, too."""
        return [
            other.conditions
            for other in self.before(ranked)
            if also is None or other is also or not apart(other.sketch, also.sketch)
        ]

    def deciding(self, ranked: Ranked, also: Conditions = ()) -> Body | None:
        """A request of which `also` holds and that this rule decides; None: there is none. Raises TooHardError when it
        cannot be told."""
        plain = Search([also, ranked.conditions], []).first()
        if plain is None:
            return None
        body = self.request(plain)
        if self.decider(body, ranked.rule) == ranked.rule.id:
            return body
        doubtful = False
        for region in Search([also, ranked.conditions], self.conditions_before(ranked)).regions():
            body = self.request(region)
            if self.decider(body, ranked.rule) == ranked.rule.id:
                return body
            doubtful = True
        if doubtful:
            raise TooHardError()
        return None

    def _goes_before(self, other: Ranked, ranked: Ranked) -> bool:
        first, rule = other.rule, ranked.rule
        if _binds(first) and not _binds(rule):
            # Whichever invariant answers, it outweighs what is milder.
            return self._mildest_binding > rule.decision.severity
        if _binds(first) != _binds(rule):
            return False
        if self.document.combine is Combine.DENY_OVERRIDES:
            return first.decision.severity > rule.decision.severity
        return _rank(other) < _rank(ranked)


def _binds(rule: Rule) -> bool:
    return rule.invariant and not rule.decision.permits


def _rank(ranked: Ranked) -> tuple[bool, int, int]:
    """The order in which rules are asked: permitting invariants last, specific tiers first, then as they stand."""
    rule = ranked.rule
    last = rule.invariant and rule.decision.permits
    return last, 0 if last else PRECEDENCE[rule.tier], ranked.place
