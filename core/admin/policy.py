"""What the admin's pages may load: nothing from elsewhere, and no script that stands in the page itself."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

ADMIN_PATH = "/admin"
# The theme's Alpine compiles the expressions in its attributes ('unsafe-eval'), and it sets styles in the page.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class AdminPolicyMiddleware:
    """Send the policy with the admin's pages; a page that has one of its own keeps it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if request.path.startswith(ADMIN_PATH):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response
