"""cordumctl policy evaluate, simulate, explain: what the policy says about one job."""

from pathlib import Path
from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, Session, session

DEFAULT_BUNDLE = "secops/policy"
Acknowledged = Annotated[bool, typer.Option("--acknowledge-relaxed", help="Even if something is let run that was not")]

app = typer.Typer()

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="Such as job.default")]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated")]
RiskTags = Annotated[list[str] | None, typer.Option("--risk-tag", metavar="TAG", help="May be repeated")]
Requires = Annotated[list[str] | None, typer.Option("--requires", metavar="CAPABILITY", help="May be repeated")]
Capability = Annotated[str, typer.Option()]
Principal = Annotated[str, typer.Option(help="On whose behalf")]


@app.command(cls=ApiCommand)
def evaluate(
    ctx: typer.Context,
    topic: Topic,
    label: Labels = None,
    risk_tag: RiskTags = None,
    requires: Requires = None,
    capability: Capability = "",
    principal: Principal = "",
) -> None:
    """The verdict on such a job."""
    _ask(session(ctx), "evaluate", topic, label, risk_tag, requires, capability, principal)


@app.command(cls=ApiCommand)
def simulate(
    ctx: typer.Context,
    topic: Topic,
    label: Labels = None,
    risk_tag: RiskTags = None,
    requires: Requires = None,
    capability: Capability = "",
    principal: Principal = "",
    with_: Annotated[
        Path | None, typer.Option("--with", metavar="FILE", help="As if this were published", show_default=False)
    ] = None,
    bundle: Annotated[str, typer.Option("--as", metavar="BUNDLE", help="... as this bundle")] = DEFAULT_BUNDLE,
) -> None:
    """The verdict, leaving no trace in counters; --with says what a policy file would change."""
    _ask(session(ctx), "simulate", topic, label, risk_tag, requires, capability, principal, with_, bundle)


@app.command(cls=ApiCommand)
def explain(
    ctx: typer.Context,
    topic: Topic,
    label: Labels = None,
    risk_tag: RiskTags = None,
    requires: Requires = None,
    capability: Capability = "",
    principal: Principal = "",
) -> None:
    """The verdict and everything known about how it came about."""
    _ask(session(ctx), "explain", topic, label, risk_tag, requires, capability, principal)


def _ask(
    asked: Session,
    how: str,
    topic: str,
    labels: list[str] | None,
    risk_tags: list[str] | None,
    requires: list[str] | None,
    capability: str,
    principal: str,
    with_: Path | None = None,
    bundle: str = "",
) -> None:
    from cordum.cli import output
    from cordum.cli.jobs import parse_labels
    from cordum.cli.policy.bundles import path_of
    from cordum.cli.policy.files import read_text

    given = parse_labels(labels or [])
    meta = {"capability": capability, "risk_tags": risk_tags, "requires": requires, "labels": given}
    body: dict[str, object] = {"topic": topic, "meta": {name: value for name, value in meta.items() if value}}
    body.update({name: value for name, value in (("labels", given), ("principal_id", principal)) if value})
    with asked.client() as client:
        if with_ is None:
            answer = client.post(f"/policy/{how}", body)
        else:
            answer = client.post(f"{path_of(bundle)}/simulate", {"request": body, "content": read_text(with_)})
    if asked.wants_json:
        output.print_json(answer)
        return
    known = ("decision", "rule_id", "reason", "policy_snapshot", "constraints", "remediations")
    output.print_fields([(name, answer.get(name)) for name in known])
    if how == "explain":
        output.print_table(
            ("#", "RULE", "MATCHED", "FIRST CONDITION NOT MET", "WANTED", "SAW"),
            (
                tuple(note.get(name) for name in ("position", "rule_id", "matched", "matcher", "wanted", "observed"))
                for note in answer.get("trace") or []
                if isinstance(note, dict)
            ),
            "no rule was tried",
        )
