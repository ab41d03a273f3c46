"""The base of every error Cordum raises on purpose.

The class docstring is the default message, so each error has a sentence for a person and no text is written twice;
`code` is for programs and never changes once released.
"""

from typing import ClassVar


class CordumError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or " ".join((type(self).__doc__ or self.code).split()).rstrip(".")
        super().__init__(self.message)
