"""What every view of the contract's API may set."""

from typing import ClassVar

from rest_framework.permissions import AllowAny
from rest_framework.views import APIView


class ContractView(APIView):
    """A view with the product's own switches, which `@action(...)` may set too.

    `rate_limit_bucket` is a key of settings.RATE_LIMITS, or one for each method ({"POST": "execute"}; the
    others count as "default"). `required_scope` replaces the scope that the method asks for.
    """

    rate_limit_bucket: ClassVar[str | dict[str, str]] = "default"
    required_scope: ClassVar[str | None] = None


class PublicView(APIView):
    """A view without credentials and without a limit: probes and descriptions."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
