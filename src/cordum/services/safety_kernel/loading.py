"""From what was found to a compiled policy with its snapshot id (spec-safety sections 5 and 6).

Nothing is left out: one bundle that cannot be read or trusted refuses the whole, for what it forbids would be allowed
without it.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from cordum.core.ids import SnapshotId
from cordum.core.output.patterns import BadPatternError
from cordum.core.output.rules import OutputJudge, compile_output
from cordum.core.output.scanners import SCANNERS, ScannerSet, UnknownScannerError
from cordum.core.policy import merge
from cordum.core.policy.bundles import (
    Bundle,
    BundleError,
    bundles_snapshot,
    join_snapshot,
    read_bundles,
    read_signed_manifest,
    with_changes,
)
from cordum.core.policy.compile import CompiledPolicy, Delegation, compile_policy
from cordum.core.policy.document import PolicyDocument
from cordum.core.policy.errors import Fault, PolicyError
from cordum.core.policy.parse import parse_policy
from cordum.services.safety_kernel.errors import BASE, LoadError
from cordum.services.safety_kernel.scanners import count_refusals
from cordum.services.safety_kernel.source import Found, PolicySource
from cordum.services.safety_kernel.trust import Trust

MAX_TOTAL_BYTES = 64 * 1024 * 1024
"""Of all enabled bundles together."""
NOTHING_AT_ALL = f"cfg:{hashlib.sha256().hexdigest()}"
"""The snapshot of a candidate without any part; its decisions must not look like nobody's."""
_SHOWN_FAULTS = 5


class LoadedPolicy(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A policy that may be used. `revision` is that of its signed manifest, 0 without one."""

    compiled: CompiledPolicy
    output: OutputJudge
    document: PolicyDocument
    snapshot: SnapshotId
    bundles: tuple[str, ...] = ()
    revision: int = 0


class PartFault(msgspec.Struct, frozen=True):
    """A fault and the bundle it is in; "" for the base and for what shows only when all are merged."""

    part: str
    fault: Fault


class Candidate(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A policy somebody considers: either `loaded`, or the faults for which it cannot be."""

    loaded: LoadedPolicy | None = None
    faults: tuple[PartFault, ...] = ()


class _BadPolicyError(Exception):
    """The parts, or what they make together, cannot be used."""

    def __init__(self, faults: Sequence[PartFault]) -> None:
        self.faults = tuple(faults)
        super().__init__(len(faults))


class PolicyLoader:
    """Puts policies together; does no I/O, so that it may run in a thread."""

    def __init__(
        self,
        source: PolicySource,
        trust: Trust,
        max_bytes: int,
        scanners: ScannerSet = SCANNERS,
        delegation: Delegation = Delegation.REFUSED,
    ) -> None:
        """`source` only says in messages where things are; `max_bytes` bounds the base and each bundle; `scanners` are
        those that content rules may name; `delegation` is whether rules may go by it."""
        self._delegation = delegation
        self._source = source
        self._scanners = scanners
        self._trust = trust
        self._max_bytes = max_bytes

    def load(self, found: Found, now: float) -> LoadedPolicy | None:
        """The policy, None when there is nothing at all. Raises LoadError when it must not be used.

        Signatures are checked before anything of the content is looked at; `now` in Unix seconds.
        """
        bundles, revision = self._trusted(found, now)
        if found.base is None and not any(bundle.enabled for bundle in bundles):
            return None
        try:
            return self._assemble(found.base, bundles, revision)
        except _BadPolicyError as error:
            count_refusals([fault.fault for fault in error.faults])
            raise self._refusal(error.faults) from error

    def accepted(self, loaded: LoadedPolicy) -> None:
        """The policy is in force: none with an older manifest will be loaded any more."""
        self._trust.accepted(loaded.revision)

    def candidate(self, found: Found, changes: Mapping[str, str]) -> Candidate:
        """The policy as it would be with some bundles' content changed ("" takes one out); never in force.

        Signatures are not asked for: what is tried is signed when it is published. All faults of all parts are told.
        """
        try:
            bundles = with_changes(read_bundles(found.bundles or {}), changes)
        except BundleError as error:
            return Candidate(faults=(PartFault(error.bundle_id, Fault(0, 0, "", error.message)),))
        try:
            return Candidate(loaded=self._assemble(found.base, bundles, 0))
        except _BadPolicyError as error:
            return Candidate(faults=error.faults)

    def _trusted(self, found: Found, now: float) -> tuple[tuple[Bundle, ...], int]:
        if found.base is not None:
            self._trust.check_base(found.base, found.signature, self._source.name, self._source.signature_place)
        try:
            bundles = read_bundles(found.bundles or {})
            manifest = read_signed_manifest(found.bundles or {})
        except BundleError as error:
            raise LoadError(f"error in policy {error.message}", reason="invalid", bundle=error.bundle_id) from error
        if found.bundles is None and not self._source.keeps_bundles:
            return (), 0
        return bundles, self._trust.check_bundles(bundles, manifest, now)

    def _assemble(self, base: bytes | None, bundles: Sequence[Bundle], revision: int) -> LoadedPolicy:
        enabled = [bundle for bundle in bundles if bundle.enabled]
        fragments = self._parse(base, enabled)
        try:
            document = merge.merge(fragments)
            compiled = compile_policy(document, scanners=self._scanners, delegation=self._delegation)
            output = compile_output(document, self._scanners)
        except PolicyError as error:
            raise _BadPolicyError([PartFault("", fault) for fault in error.faults]) from error
        except (BadPatternError, UnknownScannerError) as error:
            raise _BadPolicyError([PartFault("", Fault(0, 0, "", error.message))]) from error
        base_id = ""
        if base is not None:
            version = fragments[0].document.version.replace("|", "_")
            digest = hashlib.sha256(base).hexdigest()
            base_id = f"{version}:{digest}" if version else digest
        return LoadedPolicy(
            compiled=compiled,
            output=output,
            document=document,
            snapshot=SnapshotId(join_snapshot(base_id, bundles_snapshot(enabled)) or NOTHING_AT_ALL),
            bundles=tuple(bundle.id for bundle in enabled),
            revision=revision,
        )

    def _parse(self, base: bytes | None, bundles: Sequence[Bundle]) -> list[merge.Fragment]:
        """All parts in the order of merging. Raises _BadPolicyError with the faults of all of them."""
        fragments: list[merge.Fragment] = []
        faults: list[PartFault] = []
        parts = [("", base)] if base is not None else []
        parts += [(bundle.id, bundle.content.encode()) for bundle in bundles]
        if sum(len(data) for _, data in parts) > MAX_TOTAL_BYTES:
            fault = Fault(0, 0, "", f"all bundles together have more than the {MAX_TOTAL_BYTES} bytes allowed")
            raise _BadPolicyError([PartFault("", fault)])
        for part, data in parts:
            try:
                fragments.append(merge.Fragment(part, parse_policy(data, self._max_bytes, scanners=self._scanners)))
            except PolicyError as error:
                faults += [PartFault(part, fault) for fault in error.faults]
        if faults:
            raise _BadPolicyError(faults)
        return fragments

    def _refusal(self, faults: Sequence[PartFault]) -> LoadError:
        first = faults[0]
        where = f"bundle {first.part}" if first.part else self._source.name
        detail = "; ".join(str(fault.fault) for fault in faults[:_SHOWN_FAULTS] if fault.part == first.part)
        more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        return LoadError(
            f"error in policy {where}: {detail}{more}",
            reason="invalid",
            bundle=first.part or BASE,
            line=first.fault.line,
            column=first.fault.column,
        )
