"""All paths. Literal ones first; the two dialects of files and workflows share their handlers."""

from django.contrib import admin
from django.urls import include, path

from config import dashboard

handler400 = "core.api.errors.bad_request"
handler403 = "core.api.errors.permission_denied"
handler404 = "core.api.errors.not_found"
handler500 = "core.api.errors.server_error"

urlpatterns = [
    path("admin/dashboard/", admin.site.admin_view(dashboard.live), name="dashboard-live"),
    path("admin/", admin.site.urls),
    path("", include("core.api.urls")),
    path("", include("files.api.urls")),
    path("", include("workflows.api.urls")),
    path("", include("automation.api.urls")),
    path("api/v1/", include("accounts.api.urls")),
    path("api/v1/", include("files.api.urls")),
    path("api/v1/", include("workflows.api.urls")),
    path("api/v1/", include("automation.api.urls")),
]
