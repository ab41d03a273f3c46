"""What can be wrong with a schema itself."""

from cordum.core.errors import CordumError


class SchemaError(CordumError):
    """The schema cannot be used."""

    code = "schema_invalid"


class BadSchemaError(SchemaError):
    """This is not a JSON Schema that can be used.

    Attributes:
        path: where in the document the fault is, `$` for the document itself.
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message)
        self.path = path


class MissingReferenceError(SchemaError):
    """The schema refers to a document that nobody gave.

    Attributes:
        url: the document it asks for.
    """

    def __init__(self, url: str) -> None:
        super().__init__(f"it refers to {url}, and no registered schema has that $id")
        self.url = url
