"""How often jobs ran without a decision, over all schedulers (spec-safety section 3)."""

from typing import Final

from cordum.store.batch import Batcher

INPUT_FAIL_OPEN: Final = "cordum:scheduler:input_fail_open_total"


class Bypasses:
    """The counter. Raises StoreUnavailableError when Redis does not answer in time."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher

    async def count(self) -> None:
        """One more."""
        await self._batcher.submit([("INCR", INPUT_FAIL_OPEN)])

    async def total(self) -> int:
        """How many so far."""
        found = (await self._batcher.submit([("GET", INPUT_FAIL_OPEN)]))[0]
        return int(found) if isinstance(found, str) and found.isdigit() else 0
