"""Settings of the processes that serve gRPC."""

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.values import Flag, Seconds


class GrpcServerSettings(CommonSettings):
    """Reflection and keepalive (spec-auth sections 1 and 2.4)."""

    grpc_reflection: Flag = variable(
        "CORDUM_GRPC_REFLECTION", default=False, text="Serve gRPC reflection; ignored in production"
    )
    grpc_reflection_force: Flag = variable(
        "CORDUM_GRPC_REFLECTION_FORCE", default=False, text="Let CORDUM_GRPC_REFLECTION count in production too"
    )
    grpc_server_keepalive_time: Seconds = variable(
        "CORDUM_GRPC_SERVER_KEEPALIVE_TIME",
        default=30.0,
        least=1,
        most=7200,
        text="An idle client is pinged this often",
    )
    grpc_server_keepalive_timeout: Seconds = variable(
        "CORDUM_GRPC_SERVER_KEEPALIVE_TIMEOUT", default=10.0, least=1, most=600, text="How long its answer may take"
    )
    grpc_server_max_connection_age: Seconds = variable(
        "CORDUM_GRPC_SERVER_MAX_CONNECTION_AGE",
        default=7200.0,
        least=1,
        shown="2h",
        text="A connection this old is closed, so that clients spread over new replicas",
    )
    grpc_server_max_connection_age_grace: Seconds = variable(
        "CORDUM_GRPC_SERVER_MAX_CONNECTION_AGE_GRACE", default=30.0, least=1, text="Time to finish its calls"
    )
    grpc_server_min_ping_interval: Seconds = variable(
        "CORDUM_GRPC_SERVER_ENFORCEMENT_MIN_TIME", default=15.0, least=1, text="Clients may not ping more often"
    )

    @property
    def serves_reflection(self) -> bool:
        """Whether reflection is served: asked for, and outside production unless forced."""
        return self.grpc_reflection and (not self.production or self.grpc_reflection_force)
