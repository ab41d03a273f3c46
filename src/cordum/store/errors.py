"""What can go wrong in the store."""

from collections.abc import Sequence

from cordum.core.errors import CordumError


class StoreError(CordumError):
    """The store could not do what was asked."""

    code = "store_error"


class StoreUnavailableError(StoreError):
    """Redis cannot be reached.

    Attributes:
        outcomes: what became of each command that was to go together, where any was sent: its reply or its error. In a
            cluster some may have run while others' node was away.
    """

    code = "store_unavailable"
    outcomes: Sequence[object] = ()


class NotRunError(StoreUnavailableError):
    """Redis did not run the command; it may be sent again."""


class AnswerLostError(StoreUnavailableError):
    """The connection to Redis broke before the answer came; whether the command ran is unknown."""


class StoreReplyError(StoreError):
    """Redis refused a command."""

    code = "store_reply"


class StoreConflictError(StoreError):
    """Somebody else changed this in the meantime; read it again and retry."""

    code = "store_conflict"


class JobExistsError(StoreError):
    """There is a job with this id already."""

    code = "job_exists"


class BadDocumentError(StoreError):
    """A stored document cannot be read."""

    code = "stored_document_unreadable"


class LeaseLostError(StoreError):
    """The lease has run out and is no longer ours."""

    code = "lease_lost"


class StoreSettingsError(StoreError):
    """The Redis settings do not make sense."""

    code = "store_settings"
