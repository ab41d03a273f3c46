"""cordumctl policy: evaluate, simulate, explain."""

from typing import Annotated

import typer

from cordum.cli.command import ApiCommand, Session, session

app = typer.Typer(no_args_is_help=True, help="Ask what policy would say")

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
) -> None:
    """The verdict, leaving no trace in counters."""
    _ask(session(ctx), "simulate", topic, label, risk_tag, requires, capability, principal)


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
) -> None:
    from cordum.cli import output
    from cordum.cli.jobs import parse_labels

    given = parse_labels(labels or [])
    meta = {"capability": capability, "risk_tags": risk_tags, "requires": requires, "labels": given}
    body: dict[str, object] = {"topic": topic, "meta": {name: value for name, value in meta.items() if value}}
    body.update({name: value for name, value in (("labels", given), ("principal_id", principal)) if value})
    with asked.client() as client:
        answer = client.post(f"/policy/{how}", body)
    if asked.wants_json:
        output.print_json(answer)
        return
    known = ("decision", "rule_id", "reason", "policy_snapshot", "constraints", "remediations")
    fields = [(name, answer.get(name)) for name in known]
    if how == "explain":
        fields += [(name, answer[name]) for name in sorted(answer) if name in ("trace", "matched_rules", "explanation")]
    output.print_fields(fields)
