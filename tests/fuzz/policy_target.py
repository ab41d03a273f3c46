"""Feeds made-up documents, globs and requests to the policy language; run by `test_policy_fuzz.py` in its own process.

`python policy_target.py document|glob|request [libFuzzer options]`
"""

import re
import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["cordum.core.policy"]):
    from cordum.core.policy.compile import compile_policy
    from cordum.core.policy.errors import PolicyError
    from cordum.core.policy.evaluate import evaluate, explain
    from cordum.core.policy.glob import BadGlobError, compile_glob
    from cordum.core.policy.merge import Fragment, merge
    from cordum.core.policy.parse import parse_policy
    from cordum.core.policy.request import policy_request

REQUEST = policy_request("job.a.b", tenant="t", risk_tags=["x"], labels={"mcp.tool": "y"}, content=b"a bomb")

FIXED = compile_policy(
    parse_policy(
        b"""
rules:
  - {id: t, match: {label_threshold: {n: 5}, label_allowlist: {k: [a]}}, decision: require_approval}
  - {id: d, match: {predicate: delegation.depth > 2}, decision: deny}
  - {id: g, match: {delegation: {max_depth: 2, required_scope: [read]}}, decision: allow}
  - {id: m, match: {mcp: {tools: [x]}}, decision: deny}
  - {id: w, tier: workflow, selector: {workflow_id: w}, decision: allow}
tenants: {default: {mcp: {deny_tools: [z]}, denied_repo_hosts: [evil.example]}}
input_rules:
  - {id: i, match: {scope: {instruction_path: a, items_path: b, allowed_categories: {x: [y]}}}}
"""
    )
)
NAMES = ("n", "k", "_delegation.depth", "_delegation.scope", "mcp.tool", "workflow_id", "repo.host", "_content.prompt")


def document(data: bytes) -> None:
    """A document is refused with places, or compiles, merges and decides, and the explanation agrees."""
    try:
        parsed = parse_policy(data, 65_536)
    except PolicyError as error:
        if not error.faults or any(fault.line < 1 or fault.column < 1 for fault in error.faults):
            raise AssertionError("refused without a place") from error
        return
    policy = compile_policy(parsed)
    outcome = evaluate(policy, REQUEST)
    if explain(policy, REQUEST).outcome.decision is not outcome.decision:
        raise AssertionError("the explanation is of another decision")
    merged = evaluate(compile_policy(merge([Fragment("", parsed)])), REQUEST)
    if (merged.decision, merged.rule_id) != (outcome.decision, outcome.rule_id):
        raise AssertionError("a document merged with nothing decides otherwise")


def glob(data: bytes) -> None:
    """A glob is refused, or matches what the literal text of it matches."""
    text = data.decode(errors="replace")
    try:
        compiled = compile_glob(text)
    except BadGlobError:
        return
    plain = not re.search(r"[*?\[\\]", text)
    if plain is not (compiled.literal and "\\" not in text):
        raise AssertionError("taken for a text, or not taken for one")
    if plain and not compiled.matches(text):
        raise AssertionError("does not match itself")
    compiled.matches("job." + text)


def request(data: bytes) -> None:
    """Whatever a request says, it is decided."""
    parts = data.split(b"\n")
    texts = [part.decode(errors="replace") for part in parts]
    labels = {name: text for name, text in zip(NAMES, texts, strict=False) if text}
    asked = policy_request("job.x", labels=labels, content=data, effective_config=parts[-1])
    if explain(FIXED, asked).outcome.decision is not evaluate(FIXED, asked).decision:
        raise AssertionError("the explanation is of another decision")


TARGETS = {"document": document, "glob": glob, "request": request}

if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()
