"""Jobs that were delegated from one agent to another: what rules may ask of the chain (spec-safety 4.1).

The labels are set by whoever verified the delegation token; a depth that cannot be read counts as endless, so that it
passes no upper limit and every lower one.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from cordum.core.errors import CordumError
from cordum.core.policy.document import DelegationMatch
from cordum.core.policy.request import NOTHING, fold, fold_all

PREFIX = "_delegation."
_LABELS = frozenset(f"{PREFIX}{name}" for name in ("depth", "issuer", "issuer_chain", "parent_issuer", "scope"))


class BadPredicateError(CordumError):
    """The predicate is none of those there are."""

    code: ClassVar[str] = "bad_predicate"


class Chain(msgspec.Struct, frozen=True):
    """The chain behind a job. A direct call has depth 0 and no issuers."""

    depth: float = 0
    issuer: str = ""
    issuers: tuple[str, ...] = ()
    scope: frozenset[str] = NOTHING

    @property
    def delegated(self) -> bool:
        return self.depth > 0 or bool(self.issuers)


DIRECT = Chain()
ChainTest = Callable[[Chain], bool]


def chain_of(labels: Mapping[str, str]) -> Chain:
    """The chain that a request's labels describe."""
    if _LABELS.isdisjoint(labels):
        return DIRECT
    issuer = labels.get(f"{PREFIX}issuer", "").strip()
    listed = _listed(labels.get(f"{PREFIX}issuer_chain", ""))
    issuers = dict.fromkeys(filter(None, (issuer, *listed, labels.get(f"{PREFIX}parent_issuer", "").strip())))
    return Chain(
        _depth(labels.get(f"{PREFIX}depth", "")),
        issuer,
        tuple(issuers),
        fold_all(_listed(labels.get(f"{PREFIX}scope", ""))),
    )


def _depth(text: str) -> float:
    text = text.strip()
    if not text:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else math.inf


def _listed(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s\[\]\"]+", text[:65_536]) if part]


def match_test(match: DelegationMatch) -> ChainTest:
    """Whether a rule's delegation condition holds for a chain."""
    tests: list[ChainTest] = []
    if match.forbid_delegated:
        tests.append(lambda chain: not chain.delegated)
    scoped = match.max_depth is not None or match.issuers or match.require_issuer or match.required_scope
    if match.delegation_required or scoped:
        tests.append(lambda chain: chain.delegated)
    if (deepest := match.max_depth) is not None:
        tests.append(lambda chain: chain.depth <= deepest)
    if match.issuers:
        trusted = fold_all(match.issuers)
        tests.append(lambda chain: bool(chain.issuers) and fold_all(chain.issuers) <= trusted)
    if match.require_issuer:
        wanted = fold(match.require_issuer)
        tests.append(lambda chain: fold(chain.issuer) == wanted)
    if match.required_scope:
        scope = fold_all(match.required_scope)
        tests.append(lambda chain: scope <= chain.scope)
    return lambda chain: all(test(chain) for test in tests)


_NUMBER = re.compile(r"delegation\.depth\s*(>=|<=|==|>|<)\s*([0-9]{1,9})")
_ISSUER = re.compile(r"delegation\.issuer\s*==\s*(?:'([^']*)'|\"([^\"]*)\")")
_SCOPE = re.compile(r"delegation\.scope\.contains\(\s*(?:'([^']*)'|\"([^\"]*)\")\s*\)")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


def predicate_test(text: str) -> ChainTest:
    """`delegation.depth > 2`, `delegation.issuer == 'x'` or `delegation.scope.contains('x')`.

    Raises BadPredicateError for anything else.
    """
    text = text.strip()
    if number := _NUMBER.fullmatch(text):
        compare, limit = _COMPARISONS[number[1]], int(number[2])
        return lambda chain: compare(chain.depth, limit)
    if (issuer := _ISSUER.fullmatch(text)) and (name := fold(issuer[1] or issuer[2] or "")):
        return lambda chain: fold(chain.issuer) == name
    if (scope := _SCOPE.fullmatch(text)) and (wanted := fold(scope[1] or scope[2] or "")):
        return lambda chain: wanted in chain.scope
    raise BadPredicateError(
        "must be delegation.depth with >=, <=, ==, > or < and a number, delegation.issuer == 'name',"
        " or delegation.scope.contains('name')"
    )
