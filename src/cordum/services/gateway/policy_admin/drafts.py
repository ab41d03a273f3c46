"""Bundles that are written and not published."""

from collections.abc import Callable

from cordum.core.policy.bundles import Bundle, write_bundle
from cordum.services.gateway.errors import ApiError
from cordum.services.gateway.policy_admin.changing import MAX_BUNDLES, MAX_TOTAL, read_tolerantly
from cordum.store import Store
from cordum.store.errors import StoreConflictError
from cordum.store.policies import RawBundles

Change = Callable[[RawBundles], RawBundles]


class Drafts:
    """The drafts; concurrent changes of different bundles are all kept, of the same one the later counts."""

    def __init__(self, store: Store) -> None:
        self._policies = store.policies

    async def all(self) -> dict[str, Bundle]:
        """Every draft that can be read, by id."""
        return read_tolerantly(await self._policies.drafts())[0]

    async def keep(self, draft: Bundle) -> None:
        """Raises ApiError 400 when there is no more room, 409 when others were faster every time."""

        def change(drafts: RawBundles) -> RawBundles:
            kept = {**drafts, draft.id: write_bundle(draft)}
            size = sum(len(raw.get("content", "")) for raw in kept.values() if isinstance(raw, dict))
            if len(kept) > MAX_BUNDLES or size > MAX_TOTAL:
                raise ApiError(
                    "POLICY_VALIDATION_FAILED",
                    f"at most {MAX_BUNDLES} drafts, of {MAX_TOTAL} characters together: publish or delete some first",
                )
            return kept

        await self._change(change)

    async def drop(self, bundles: dict[str, Bundle]) -> None:
        """Removes drafts, unless they were written again since `bundles` were read."""

        def change(drafts: RawBundles) -> RawBundles:
            current, _ = read_tolerantly(drafts)
            return {
                name: raw
                for name, raw in drafts.items()
                if name not in bundles or (name in current and current[name] != bundles[name])
            }

        if bundles:
            await self._change(change)

    async def forget(self, bundle_id: str) -> None:
        """Removes a draft, whatever it says."""
        await self._change(lambda drafts: {name: raw for name, raw in drafts.items() if name != bundle_id})

    async def _change(self, change: Change) -> None:
        try:
            await self._policies.change_drafts(change)
        except StoreConflictError as error:
            raise ApiError("POLICY_VERSION_CONFLICT", "drafts are being written all the time: try again") from error
