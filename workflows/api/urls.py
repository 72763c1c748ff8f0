"""Paths of workflows and executions; included at the root (legacy) and under `api/v1/`."""

from django.urls import path

from workflows.api import approvals, reruns, views

urlpatterns = [
    path("workflows", views.WorkflowListView.as_view()),
    # Literal sub-paths win over {id}.
    path("workflows/stats/summary", views.WorkflowSummaryView.as_view()),
    path("workflows/validate-cron", views.ValidateCronView.as_view()),
    path("workflows/step-types", views.StepTypesView.as_view()),
    path("workflows/executions", views.ExecutionListAlias.as_view()),
    path("workflows/executions/reruns", reruns.BulkRerunView.as_view()),
    path("workflows/executions/<str:key>", views.ExecutionView.as_view()),
    path("workflows/executions/<str:key>/steps", views.ExecutionStepsView.as_view()),
    path("workflows/executions/<str:key>/cancel", views.CancelExecutionView.as_view()),
    path("workflows/executions/<str:key>/rerun", reruns.RerunView.as_view()),
    path("workflows/executions/<str:key>/compensation", reruns.CompensationView.as_view()),
    path("workflows/executions/<str:key>/compensation/retry", reruns.RetryCompensationView.as_view()),
    path("workflows/executions/<str:key>/compensation/by-hand", reruns.ByHandView.as_view()),
    path("workflows/steps/<str:key>/retry", views.RetryStepView.as_view()),
    path("workflows/<str:key>", views.WorkflowView.as_view()),
    path("workflows/<str:key>/execute", views.ExecuteView.as_view()),
    path("workflows/<str:key>/trigger", views.ExecuteView.as_view()),
    path("workflows/<str:key>/draft", views.DraftView.as_view()),
    path("workflows/<str:key>/draft/publish", views.PublishDraftView.as_view()),
    path("workflows/<str:key>/draft/run", views.RunDraftView.as_view()),
    path("workflows/<str:key>/executions", views.WorkflowExecutionsView.as_view()),
    path("workflows/<str:key>/status", views.WorkflowStatusView.as_view()),
    path("executions", views.ExecutionListView.as_view()),
    path("approvals", approvals.ApprovalListView.as_view()),
    path("approvals/<uuid:key>", approvals.ApprovalView.as_view()),
    path("approvals/<uuid:key>/approve", approvals.ApproveView.as_view()),
    path("approvals/<uuid:key>/reject", approvals.RejectView.as_view()),
]
