"""What handlers work with: the gateway's ports and services, put together once by `service`."""

from typing import TYPE_CHECKING

import msgspec

from cordum.bus import Bus
from cordum.rpc.kernel_client import KernelClient
from cordum.runtime.clock import Clock
from cordum.runtime.health import Health
from cordum.runtime.ids import Ids
from cordum.runtime.settings import GatewaySettings
from cordum.services.gateway.auditing import Auditor
from cordum.services.gateway.authentication import Authenticator
from cordum.services.gateway.ratelimit import RateLimiter
from cordum.services.gateway.topics import TopicRegistry
from cordum.store import Store

if TYPE_CHECKING:
    from cordum.services.gateway.approvals.repairer import Repairer
    from cordum.services.gateway.approvals.resolver import Resolver
    from cordum.services.gateway.dlq.letters import DeadLetterBox
    from cordum.services.gateway.jobs.cancelling import Canceller
    from cordum.services.gateway.jobs.quarantine import QuarantineDesk
    from cordum.services.gateway.jobs.remediation import Remediator
    from cordum.services.gateway.jobs.views import RenderedRecords
    from cordum.services.gateway.jobs.waiting import Waiting
    from cordum.services.gateway.policy_admin.changing import PolicyChanger
    from cordum.services.gateway.policy_admin.drafts import Drafts
    from cordum.services.gateway.policy_admin.signer import PolicySigner
    from cordum.services.gateway.policy_admin.trying import PolicyTrials
    from cordum.services.gateway.routing_admin.desk import RoutingDesk
    from cordum.services.gateway.schemas.gate import SubmitGate
    from cordum.services.gateway.status import StatusPage
    from cordum.services.gateway.submit.service import SubmitService
    from cordum.services.gateway.workers.fleet import Fleet


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a handler may use; handlers themselves keep nothing."""

    settings: GatewaySettings
    clock: Clock
    ids: Ids
    store: Store
    bus: Bus
    kernel: KernelClient
    health: Health
    authenticator: Authenticator
    tenant_limiter: RateLimiter
    public_limiter: RateLimiter
    topics: TopicRegistry
    auditor: Auditor
    submitter: "SubmitService"
    resolver: "Resolver"
    repairer: "Repairer"
    canceller: "Canceller"
    dead_letters: "DeadLetterBox"
    quarantine: "QuarantineDesk"
    remediator: "Remediator"
    waiting: "Waiting"
    rendered: "RenderedRecords"
    fleet: "Fleet"
    status: "StatusPage"
    drafts: "Drafts"
    policy_signer: "PolicySigner"
    policy_trials: "PolicyTrials"
    policy_changer: "PolicyChanger"
    routing: "RoutingDesk"
    submit_gate: "SubmitGate"
