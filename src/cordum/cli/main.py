"""The command line itself. What does the work is imported by the command that needs it, so that `--help` is quick."""

import sys

import typer

from cordum.cli.commands import approval, dlq, doctor, job, policy, pool, schema, system, topic, worker
from cordum.core.errors import CordumError

app = typer.Typer(
    name="cordumctl",
    help="The operator's hand: run Cordum on this machine, submit jobs, decide, look.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
system.register(app)
app.add_typer(job.app, name="job")
app.add_typer(worker.app, name="worker")
app.add_typer(dlq.app, name="dlq")
app.add_typer(doctor.app, name="doctor")
app.add_typer(approval.app, name="approval")
app.add_typer(policy.app, name="policy")
app.add_typer(topic.app, name="topic")
app.add_typer(pool.app, name="pool")
app.add_typer(schema.app, name="schema")


def main() -> None:
    """Runs the command; exit code 0 done, 1 failed or refused, 2 wrong usage."""
    try:
        app()
    except CordumError as error:
        sys.stderr.write(f"cordumctl: {error.message}\n")
        hint = getattr(error, "hint", "")
        if hint:
            sys.stderr.write(f"  {hint}\n")
        sys.exit(getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
