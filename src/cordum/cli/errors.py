"""What ends a command early, and with which exit code: 1 the request failed or was refused, 2 it made no sense."""

from cordum.core.errors import CordumError

FAILED = 1
USAGE = 2


class CliError(CordumError):
    """The command failed.

    Attributes:
        hint: what to do next, in a sentence.
    """

    code = "cli_failed"
    exit_code = FAILED

    def __init__(self, message: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CliError):
    """The command makes no sense as it was given."""

    code = "cli_usage"
    exit_code = USAGE


class UnreachableError(CliError):
    """The gateway could not be reached."""

    code = "cli_unreachable"


class RefusedError(CliError):
    """The gateway refused the request.

    Attributes:
        status: the HTTP status.
        body: the answer, as far as it was a JSON object.
    """

    code = "cli_refused"

    def __init__(self, message: str, hint: str, status: int, body: dict[str, object]) -> None:
        super().__init__(message, hint)
        self.status = status
        self.body = body
