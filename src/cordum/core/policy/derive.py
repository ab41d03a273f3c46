"""Risk tags that the policy derives itself, in place of those the client claims (spec-safety 4.7)."""

import math
from collections.abc import Callable, Iterator, Mapping

import msgspec

from cordum.core.policy.document import McpOpRule, RiskDeriver
from cordum.core.policy.glob import Glob, compile_glob
from cordum.core.policy.mcp import call_of
from cordum.core.policy.request import PolicyRequest, fold, fold_all

AMOUNT_THRESHOLD = "amount-threshold"
MCP_OP = "mcp-op"
DERIVERS = (AMOUNT_THRESHOLD, MCP_OP)

BUILT_IN = {"job.demo-mock-bank.transfer": RiskDeriver(deriver=AMOUNT_THRESHOLD)}
"""Topics that have a deriver unless the policy gives them one."""

PAYLOAD = "_content.payload_json"

_REVIEW_FROM = 100
_BLOCKED_FROM = 300
_TRANSFER = frozenset({"finance", "transfer"})
_LONGEST_NUMBER = 64

Tags = Callable[[PolicyRequest], frozenset[str]]


class Derivers:
    """The derivers of a policy, by topic. An exact topic goes before a pattern, patterns in document order."""

    def __init__(self, derivers: Mapping[str, RiskDeriver]) -> None:
        """Raises BadGlobError for a pattern that `parse_policy` would have refused."""
        self._exact: dict[str, Tags] = {}
        self._patterns: list[tuple[Glob, Tags]] = []
        for topic, deriver in {**BUILT_IN, **derivers}.items():
            glob = compile_glob(topic)
            if glob.literal:
                self._exact[glob.prefix] = tags_of(deriver)
            else:
                self._patterns.append((glob, tags_of(deriver)))

    def tags(self, request: PolicyRequest) -> frozenset[str] | None:
        """The request's risk tags, or None when nothing derives them for its topic."""
        derive = self._exact.get(request.topic)
        if derive is not None:
            return derive(request)
        for glob, tags in self._patterns:
            if glob.matches(request.topic):
                return tags(request)
        return None


def tags_of(deriver: RiskDeriver) -> Tags:
    """What one deriver says of a request."""
    defaults = fold_all(deriver.default_risk_tags)
    if deriver.deriver == AMOUNT_THRESHOLD:
        return lambda request: _of_amount(request) | defaults
    if deriver.mcp_op_rules:
        return _of_operation(deriver.mcp_op_rules, defaults)
    return lambda request: defaults


def _of_operation(rules: tuple[McpOpRule, ...], defaults: frozenset[str]) -> Tags:
    """The tags of every rule that matches; those by default when none does."""
    compiled = [(compile_glob(fold(rule.op_glob)).matches, rule.labels, fold_all(rule.tags)) for rule in rules]

    def tags(request: PolicyRequest) -> frozenset[str]:
        labels = request.labels
        call = call_of(labels)
        names = {*call.tool, *(f"{server}.{tool}" for server in call.server for tool in call.tool)}
        found = [
            given
            for matches, wanted, given in compiled
            if any(map(matches, names)) and all(labels.get(name) == value for name, value in wanted.items())
        ]
        return frozenset().union(*found) if found else defaults

    return tags


def _of_amount(request: PolicyRequest) -> frozenset[str]:
    amount = next(_amounts(request), math.nan)
    if not amount > 0 or amount >= _BLOCKED_FROM:  # what is no number compares with nothing
        return _TRANSFER | {"blocked"}
    return _TRANSFER | {"low" if amount < _REVIEW_FROM else "review"}


class _Transfer(msgspec.Struct):
    amount: float | str | None = None


_decoder = msgspec.json.Decoder(_Transfer)


def _amounts(request: PolicyRequest) -> Iterator[float]:
    """The amount in each of the places it may stand in; NaN for one that is there and no number."""
    for text in (request.labels.get(PAYLOAD, ""), request.content, request.prompt):
        try:
            amount = _decoder.decode(text).amount if text else None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(amount, str):
            yield _number(amount)
        elif amount is not None:
            yield amount


def _number(text: str) -> float:
    try:
        return float(text) if len(text) <= _LONGEST_NUMBER else math.nan
    except ValueError:
        return math.nan
