"""Why a decision came out as it did, as JSON (spec-safety section 14.7)."""

from typing import Any

from cordum.rpc.gen.cordum.v1 import kernel_pb2


def explained(detail: kernel_pb2.ExplainInDetailResponse) -> dict[str, Any]:
    """What `explain` adds to a decision.

    `trace` lists the rules that were tried, in order, with the first condition that failed; `near_misses` the rules of
    which exactly one condition failed; `steps` what each part of the policy made of the decision.
    """
    return {
        "decided_by": detail.decided_by,
        "tier": detail.tier,
        "rules": detail.rules,
        "candidates": detail.candidates,
        "trace": [_rule(note) for note in detail.tried],
        "near_misses": [_rule(note) for note in detail.near_misses],
        "steps": [
            {"name": step.name, "decision": step.decision, "rule_id": step.rule_id, "reason": step.reason}
            for step in detail.steps
        ],
        "combined_by": detail.steps[-1].name if detail.steps else "",
    }


def _rule(note: kernel_pb2.RuleNote) -> dict[str, Any]:
    return {
        "rule_id": note.rule_id,
        "position": note.position,
        "tier": note.tier,
        "bundle": note.bundle,
        "matched": note.matched,
        "matcher": note.matcher,
        "wanted": note.wanted,
        "observed": note.observed,
    }
