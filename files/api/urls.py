"""Paths of files; included at the root (legacy) and under `api/v1/`. A middleware strips a trailing slash."""

from django.urls import path

from files.api import downloads, making, reextraction, search, views

urlpatterns = [
    path("upload", views.UploadView.as_view()),
    path("files", search.FileListView.as_view()),
    # Literal sub-paths win over {id}.
    path("files/upload", views.UploadView.as_view()),
    path("files/upload-multiple", views.UploadManyView.as_view()),
    path("files/stats/summary", views.SummaryView.as_view()),
    path("files/reextractions", reextraction.ReextractionView.as_view()),
    path("files/process/<str:key>", views.ProcessAliasView.as_view()),
    path("files/extract/<str:key>", views.ExtractAliasView.as_view()),
    path("files/download/<str:token>", downloads.TokenDownloadView.as_view(), name="file-by-token"),
    path("files/<str:key>", views.FileView.as_view()),
    path("files/<str:key>/process", views.ProcessView.as_view()),
    path("files/<str:key>/convert", making.ConvertView.as_view()),
    path("files/<str:key>/optimize-image", making.OptimizeView.as_view()),
    path("files/<str:key>/resize-image", making.ResizeView.as_view()),
    path("files/<str:key>/extract", views.ExtractView.as_view()),
    path("files/<str:key>/download", downloads.DownloadView.as_view()),
    path("files/<str:key>/download-url", downloads.DownloadUrlView.as_view()),
]
