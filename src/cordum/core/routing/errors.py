"""What can be wrong with routing configuration."""

from cordum.core.errors import CordumError


class RoutingConfigError(CordumError):
    """The routing configuration cannot be used."""

    code = "routing_config_invalid"
