"""The reference of the policy language: one table a section, from the structs and the grammar that read a policy.

A key without a description, or a description without a key, stops the generator.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from cordum.core.output.scope import Scope
from cordum.core.policy import document as documents
from cordum.core.policy import parse
from cordum.core.policy.decision import ApprovalTerms, Budgets, Constraints, Diff, Remediation, Sandbox, Toolchain
from cordum.core.policy.grammar import content, matching, rules
from cordum.core.policy.grammar.words import DECISION_WORDS

INTRODUCTION = """# The policy language, key by key

How a job is decided, what patterns match and how files are signed is told in [policy](policy.md); how to write, test
and publish a policy in [the guide](../guides/policy.md). This page lists every key there is: any other is refused, with
line and column.

A list is `[a, b]`, a duration `90s`, `10m`, `1h30m` or `2d`. "Any case" means compared without regard to case and to
blanks around. An empty list asks nothing.
"""

DECISIONS = ", ".join(f"`{word}`" for word in DECISION_WORDS)


@dataclass(frozen=True)
class Key:
    """One key whose type or default is not what the struct says."""

    meaning: str
    type: str = ""
    default: str = ""


@dataclass(frozen=True)
class Section:
    """One mapping of the language: where it stands, who reads it, and what its keys mean."""

    title: str
    path: str
    keys: Sequence[str]
    struct: type[msgspec.Struct]
    meanings: Mapping[str, str | Key]
    about: str = ""
    required: Sequence[str] = field(default_factory=tuple)


_SELECTOR = "What it is attached to: see Selectors"
_TIER = Key("How far it reaches; `workflow` and `job` need a selector", "`global`, `workflow`, `job`", "the file's own")
_MATCH_COMMON = {
    "tenants": "The job's tenant is one of these, any case",
    "topics": "The topic matches one of these patterns; case matters",
    "capabilities": "The job's capability is one of these, any case",
    "risk_tags": "The job has one of these, any case",
}
_CONTENT_COMMON: dict[str, str | Key] = {
    **_MATCH_COMMON,
    "content_types": "The content's type is one of these, any case",
    "scanners": "One of these scanners finds something: `secret`, `pii`, `injection`, `prompt_injection`, or your own",
    "detectors": Key(
        "The same as `scanners`; `secret_leak` and `code_injection` are understood too", "list of texts", "-"
    ),
    "content_patterns": "One of these regular expressions (RE2, at most 256 characters) is found",
    "keywords": "One of these texts is found, any case",
}
_CONTENT_RULE: dict[str, str | Key] = {
    "id": Key("Named in answers; unique", "text", "its place, as `input-rule-1`"),
    "tier": _TIER,
    "selector": _SELECTOR,
    "enabled": "`false` keeps the rule without effect",
    "severity": "How grave it is",
    "description": "For people",
    "reason": "Told to whoever asked",
}

SECTIONS: tuple[Section, ...] = (
    Section(
        "The document",
        "",
        parse._DOCUMENT,
        documents.PolicyDocument,
        {
            "version": "Your own name for this version; it starts the snapshot id",
            "tier": "How far everything in the file reaches",
            "selector": "What the whole file is attached to: see Selectors",
            "default_tenant": Key("The tenant of a request that names none", "text", "`default`"),
            "default_decision": Key("What decides when no rule matches", "`allow`, `deny`", "`deny`"),
            "combine": "Which of several matching rules counts: the first, or the strictest",
            "rules": Key("Who may do what: see Rules", "list of rules"),
            "input_policy": Key("How input rules are applied", "mapping", "-"),
            "input_rules": Key("What may go into a job: see Input rules", "list of rules"),
            "output_policy": Key("Whether and how results are looked at", "mapping", "-"),
            "output_rules": Key("What may come out of a job: see Output rules", "list of rules"),
            "tenants": Key("What bounds each tenant, by its name: see Tenants", "mapping of mappings"),
            "require_human": Key("When an input rule's denial becomes a question to a person", "mapping", "-"),
            "risk_tag_derivers": Key(
                "Where the risk tags of jobs come from, by topic pattern, instead of from the client",
                "mapping of mappings",
            ),
            "tests": Key("Requests and what must be decided about them: see Tests", "list of tests"),
        },
    ),
    Section(
        "Selectors",
        "selector",
        documents.Selector.__struct_fields__,
        documents.Selector,
        {
            "workflow_id": "Jobs of this workflow",
            "job_id": "This job, or whatever has the attachment `job/<id>/policy`",
            "session_id": "This edge session",
        },
        "What a file or rule of the tier `workflow` or `job` is attached to. The most specific tier is asked first.",
    ),
    Section(
        "Rules",
        "rules[]",
        rules._RULE,
        documents.Rule,
        {
            "id": Key("Named in answers; unique", "text", "its place, as `rule-1`"),
            "tier": _TIER,
            "selector": _SELECTOR,
            "match": Key("Conditions, all of which must hold: see Match", "mapping", "matches everything"),
            "velocity": Key("The rule counts, and applies only beyond a limit: see Velocity", "mapping", "-"),
            "decision": Key("What is decided", DECISIONS, "`deny`"),
            "reason": "Told to whoever asked; an allow gives none",
            "constraints": Key("Limits on a job that may run: see Constraints", "mapping", "-"),
            "remediations": Key("Ways out of a denial that are offered: see Remediations", "list of mappings"),
            "approval": Key("Who must approve, and until when: see Approval", "mapping", "one approval"),
            "throttle": Key(
                "`{retry_after_ms: N}`: what whoever was throttled is told to wait, up to a day", "mapping", "-"
            ),
        },
        "An `allow` with constraints is an `allow_with_constraints`. A rule that allows decides about MCP requests "
        "only with `match.mcp`, and about actions at the edge only when it lists the topic `job.edge.action`; a rule "
        "that restricts applies to every kind of request.",
    ),
    Section(
        "Match",
        "rules[].match",
        matching._MATCH,
        documents.Match,
        {
            **_MATCH_COMMON,
            "requires": "The job requires **all** of these, any case",
            "pack_ids": "The job's pack is one of these, any case",
            "actor_ids": "The actor (else the principal) is one of these, any case",
            "actor_types": Key("The actor is one of these", "list of `human`, `service`"),
            "labels": 'Every label is there with exactly this value; `""` needs it to be there and empty',
            "label_allowlist": Key(
                "One of these labels is there with a value **outside** its list, any case", "mapping of lists"
            ),
            "label_threshold": Key(
                "One of these labels is there and is a number **greater** than this; `NaN` counts as greater",
                "mapping of numbers",
            ),
            "secrets_present": "What the label `secrets_present` says (`true`, `1`, `yes`, any case); without it, "
            "whether the risk tag `secrets` is there",
            "mcp": Key("An MCP request, as the lists say: see MCP", "mapping", "-"),
            "agent_risk_tiers": "The registered agent's risk tier is one of these, any case",
            "agent_data_classifications": "The registered agent has one of these classifications, any case",
            "predicate": "One of `delegation.depth OP N`, `delegation.issuer == 'x'`, `delegation.scope.contains('x')`",
            "delegation": Key("The chain the job was delegated through: see Delegation", "mapping", "-"),
        },
        "All that is given must hold. A job without a value never matches a list of values.",
    ),
    Section(
        "MCP",
        "rules[].match.mcp",
        matching._MCP,
        documents.McpMatch,
        {
            **{
                f"{name}s": f"The request's {name} is one of these, any case" for name in ("server", "tool", "resource")
            },
            "actions": "The request's action is one of these, any case",
            **{
                f"not_{name}s": f"The request's {name} is none of these"
                for name in ("server", "tool", "resource", "action")
            },
            **{
                f"allow_{name}s": Key(f"Old spelling of `{name}s`", "list of texts")
                for name in ("server", "tool", "resource", "action")
            },
            **{
                f"deny_{name}s": Key(
                    f"Old spelling: `{name}s` of a rule that restricts, `not_{name}s` of one that allows",
                    "list of texts",
                )
                for name in ("server", "tool", "resource", "action")
            },
        },
        "Exact names, no patterns. Where a request gives a field twice, a rule that restricts applies when one value "
        "is listed, one that allows only when all are.",
    ),
    Section(
        "Delegation",
        "rules[].match.delegation",
        matching._DELEGATION,
        documents.DelegationMatch,
        {
            "max_depth": Key("The chain is at most this long", "whole number", "-"),
            "issuers": "Everybody in the chain is one of these",
            "require_issuer": "The job was delegated by this one",
            "required_scope": "All of these are within the delegated scope",
            "forbid_delegated": "`true`: the job was not delegated at all",
            "delegation_required": "`true`: the job was delegated",
        },
    ),
    Section(
        "Velocity",
        "rules[].velocity",
        documents.Velocity.__struct_fields__,
        documents.Velocity,
        {
            "max_requests": "As many are within the limit, at least 1",
            "window_seconds": "Within so many seconds, 1 to 86400",
            "key": "What is counted separately: `tenant`, `topic`, `actor_id`, `actor_type`, `pack_id`, `capability`, "
            "`labels.<name>`, joined by `:`",
        },
        required=("max_requests", "window_seconds", "key"),
    ),
    Section(
        "Approval",
        "rules[].approval",
        rules._APPROVAL,
        ApprovalTerms,
        {
            "required": "So many different people must approve, 1 to 20",
            "roles": "Whose word counts; none: everybody who may approve at all",
            "expires_after": Key("Then the request lapses and the job is denied", "duration", "the installation's"),
            "escalate_after": Key("Then `escalate_to` may decide as well", "duration", "never"),
            "escalate_to": "The roles that join in then",
        },
    ),
    Section(
        "Constraints",
        "rules[].constraints",
        Constraints.__struct_fields__,
        Constraints,
        {
            "budgets": Key("Enforced limits: see Budgets", "mapping", "-"),
            "sandbox": Key("How the worker should isolate the job: see Sandbox", "mapping", "-"),
            "toolchain": Key("What the job may use: see Toolchain", "mapping", "-"),
            "diff": Key("How much the job may change: see Diff", "mapping", "-"),
            "redaction_level": "Advice to the worker, in your own words",
        },
        "Budgets are enforced; the rest is advice that travels with the job.",
    ),
    Section(
        "Budgets",
        "rules[].constraints.budgets",
        Budgets.__struct_fields__,
        Budgets,
        {
            "max_runtime_ms": "Milliseconds the job may run; 0 is no limit",
            "max_retries": "Attempts after the first; 0 is no limit",
            "max_artifact_bytes": "Size of one artifact; 0 is no limit",
            "max_concurrent_jobs": "Jobs of the tenant at a time; 0 is no limit",
        },
    ),
    Section(
        "Sandbox",
        "rules[].constraints.sandbox",
        Sandbox.__struct_fields__,
        Sandbox,
        {
            "isolated": "Without network and with a file system of its own",
            "network_allowlist": "Hosts it may reach",
            "fs_read_only": "Paths it may read",
            "fs_read_write": "Paths it may write",
        },
    ),
    Section(
        "Toolchain",
        "rules[].constraints.toolchain",
        Toolchain.__struct_fields__,
        Toolchain,
        {"allowed_tools": "Tools it may use", "allowed_commands": "Commands it may run"},
    ),
    Section(
        "Diff",
        "rules[].constraints.diff",
        Diff.__struct_fields__,
        Diff,
        {
            "max_files": "Files it may change; 0 is no limit",
            "max_lines": "Lines it may change; 0 is no limit",
            "deny_path_globs": "Paths it may not change",
        },
    ),
    Section(
        "Remediations",
        "rules[].remediations[]",
        Remediation.__struct_fields__,
        Remediation,
        {
            "id": "By which it is chosen",
            "title": "In a few words",
            "summary": "In a sentence",
            "replacement_topic": "The job's topic instead",
            "replacement_capability": "The job's capability instead",
            "add_labels": "Labels the new job has besides",
            "remove_labels": "Labels the new job has no more",
        },
    ),
    Section(
        "Input policy",
        "input_policy",
        ("enabled", "fail_mode", "max_scan_bytes"),
        documents.InputPolicy,
        {
            "enabled": "`false` switches all input rules off",
            "fail_mode": "`closed`: content that cannot be looked at to its end counts as a hit",
            "max_scan_bytes": "So much of a job's content is looked at",
        },
    ),
    Section(
        "Input rules",
        "input_rules[]",
        content._RULE,
        documents.InputRule,
        {
            **_CONTENT_RULE,
            "match": Key("Conditions, all of which must hold: see Input match", "mapping", "matches everything"),
            "decision": Key("What is decided", ", ".join(f"`{word}`" for word in content._INPUT_WORDS), "`deny`"),
        },
        "They only ever tighten what the rules have decided. The first that matches counts.",
    ),
    Section(
        "Input match",
        "input_rules[].match",
        content._INPUT,
        documents.ContentMatch,
        {
            **_CONTENT_COMMON,
            "input_size_gt": Key("The content has more bytes than this", "whole number", "-"),
            "max_input_bytes": Key("The same; the larger of the two counts", "whole number", "-"),
            "scope": Key("Items go beyond what the instruction is about: see Scope", "mapping", "-"),
        },
    ),
    Section(
        "Scope",
        "input_rules[].match.scope",
        content._SCOPE,
        Scope,
        {
            "instruction_path": "Where the instruction stands in the JSON content, as `order.text`",
            "items_path": "Where the list of items stands",
            "category_path": "Where an item has its category",
            "name_path": "Where an item has its name",
            "allowed_categories": Key(
                "By word in the instruction: the categories it covers; none: all", "mapping of lists"
            ),
            "aliases": "Other names of categories",
            "on_missing_input": "Whether content without these is a hit",
            "on_ambiguous": "Whether an instruction that none of the words fits is a hit",
        },
        required=("instruction_path", "items_path"),
    ),
    Section(
        "Output policy",
        "output_policy",
        documents.OutputPolicySettings.__struct_fields__,
        documents.OutputPolicySettings,
        {
            "enabled": Key("`false` switches all output rules off", "yes/no", "on where there are output rules"),
            "fail_mode": Key(
                "`closed`: a result that cannot be looked at is held back", "`closed`, `open`", "`closed`"
            ),
        },
    ),
    Section(
        "Output rules",
        "output_rules[]",
        content._RULE,
        documents.OutputRule,
        {
            **_CONTENT_RULE,
            "id": Key("Named in answers; unique", "text", "its place, as `output-rule-1`"),
            "match": Key("Conditions, all of which must hold: see Output match", "mapping", "matches everything"),
            "decision": Key(
                "What is decided", ", ".join(f"`{word}`" for word in content._OUTPUT_WORDS), "`quarantine`"
            ),
        },
        "Looked at before a result is released. The first that matches counts.",
    ),
    Section(
        "Output match",
        "output_rules[].match",
        content._OUTPUT,
        documents.ContentMatch,
        {
            **_CONTENT_COMMON,
            "output_size_gt": Key("The result has more bytes than this", "whole number", "-"),
            "max_output_bytes": Key("The same; the larger of the two counts", "whole number", "-"),
            "has_error": Key("Whether the worker reported an error", "yes/no", "-"),
        },
    ),
    Section(
        "Tenants",
        "tenants.<name>",
        documents.TenantPolicy.__struct_fields__,
        documents.TenantPolicy,
        {
            "allow_topics": "Only these, whatever the rules allow",
            "deny_topics": "Never these",
            "max_concurrent_jobs": "Joins the constraints of what is allowed; the smaller number counts; 0 is no limit",
            "allowed_repo_hosts": "The label `repo.host` must be one of these",
            "denied_repo_hosts": "The label `repo.host` must be none of these",
            "mcp": Key("What bounds its MCP requests: see Tenant MCP", "mapping", "-"),
        },
        "In a file without rules these lists are the rules: denied topics first, then allowed ones.",
    ),
    Section(
        "Tenant MCP",
        "tenants.<name>.mcp",
        documents.McpLists.__struct_fields__,
        documents.McpLists,
        {
            f"{verb}_{name}s": (
                f"Only these; a request that leaves its {name} out is denied, too" if verb == "allow" else "Never these"
            )
            for verb in ("allow", "deny")
            for name in ("server", "tool", "resource", "action")
        },
    ),
    Section(
        "Require human",
        "require_human",
        documents.RequireHuman.__struct_fields__,
        documents.RequireHuman,
        {
            "min_severity_for_deny": Key(
                "Less grave findings ask a person instead of denying", "`low`, `medium`, `high`, `critical`", "-"
            ),
            "min_confidence_for_deny": "Less certain findings ask a person instead of denying; 0 to 1",
            "downgrade_when_prompt_only": "What was found in a prompt alone asks a person instead of denying",
        },
    ),
    Section(
        "Risk tag derivers",
        "risk_tag_derivers.<topic>",
        documents.RiskDeriver.__struct_fields__,
        documents.RiskDeriver,
        {
            "deriver": "`amount-threshold` or `mcp-op`",
            "mcp_op_rules": Key("Tags by MCP operation: see MCP operations", "list of mappings"),
            "default_risk_tags": "Tags every such job has",
        },
        "What is derived replaces the client's own tags.",
    ),
    Section(
        "MCP operations",
        "risk_tag_derivers.<topic>.mcp_op_rules[]",
        documents.McpOpRule.__struct_fields__,
        documents.McpOpRule,
        {
            "op_glob": "Pattern of the tool, or of `server.tool`",
            "labels": "Labels the request must have besides",
            "tags": "The tags it gives",
        },
        required=("op_glob",),
    ),
    Section(
        "Tests",
        "tests[]",
        ("name", "request", "expect"),
        documents.PolicyTest,
        {
            "name": "Which it is",
            "request": Key(
                "As the body of `POST /api/v1/policy/evaluate`: `topic`, `tenant`, `labels`, `meta`, `content`, ...",
                "mapping",
            ),
            "expect": Key(
                "`decision`, `rule_id`, `decided_by`, `approval_required`, and `reason` (a part of it)", "mapping"
            ),
        },
        "Run by `cordumctl policy test`, and before a bundle is published. `decision: allow` takes an allow with "
        "constraints as well.",
        required=("name",),
    ),
)


def page() -> str:
    """The whole page. Raises SystemExit when keys and descriptions do not agree."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        _check(section)
        parts.append(f"\n## {section.title}\n\n")
        if section.path:
            parts.append(f"`{section.path}`\n\n")
        if section.about:
            parts.append(f"{section.about}\n\n")
        parts += ["| Key | Type | Default | Meaning |\n", "|---|---|---|---|\n"]
        parts += [_row(section, name) for name in section.keys]
    return "".join(parts)


def _check(section: Section) -> None:
    missing = [name for name in section.keys if name not in section.meanings]
    unknown = [name for name in section.meanings if name not in section.keys]
    if missing or unknown:
        raise SystemExit(
            f"tools/policy_language.py, {section.title}: no description of {missing}, no such keys: {unknown}"
        )


def _row(section: Section, name: str) -> str:
    described = section.meanings[name]
    key = described if isinstance(described, Key) else Key(described)
    kind = key.type or _kind(get_type_hints(section.struct).get(name))
    default = "required" if name in section.required else key.default or _default(section.struct, name)
    return f"| `{name}` | {kind} | {default} | {key.meaning.replace('|', chr(92) + '|')} |\n"


def _kind(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{word.value.lower()}`" for word in hint)
    if get_origin(hint) is tuple:
        return "list of texts"
    if get_origin(hint) is dict:
        return "mapping of texts"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return "mapping"
    return {str: "text", bool: "yes/no", int: "whole number", float: "number"}[hint]


def _default(struct: type[msgspec.Struct], name: str) -> str:
    found = next((one for one in msgspec.structs.fields(struct) if one.name == name), None)
    value = None if found is None else found.default
    if isinstance(value, Enum):
        return f"`{str(value.value).lower()}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
    return f"`{value}`" if isinstance(value, str) and value else "-"
