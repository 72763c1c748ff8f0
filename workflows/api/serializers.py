"""Shapes of requests and answers, for the OpenAPI document and for reading requests. Nothing here writes."""

from rest_framework import serializers

from workflows.choices import ExecutionStatus, TriggerType, WorkflowStatus


class ExecuteSerializer(serializers.Serializer[None]):
    """ExecuteIn: both names of the data are read; `trigger_data` wins."""

    trigger_data = serializers.DictField(required=False)
    input_data = serializers.DictField(required=False)
    priority = serializers.ChoiceField(choices=["low", "normal", "high", "critical"], required=False)


class ExecuteOutSerializer(serializers.Serializer[None]):
    message = serializers.CharField()
    execution_id = serializers.IntegerField()
    workflow_id = serializers.IntegerField()
    status = serializers.CharField()
    execution_uuid = serializers.UUIDField()
    saga_id = serializers.CharField(allow_null=True)
    task_id = serializers.CharField()


class WorkflowStepSerializer(serializers.Serializer[None]):
    id = serializers.CharField()
    name = serializers.CharField()
    type = serializers.CharField()
    config = serializers.DictField()


class WorkflowSerializer(serializers.Serializer[None]):
    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(allow_null=True)
    workflow_config = serializers.DictField()
    trigger_config = serializers.DictField(allow_null=True)
    cron_schedule = serializers.CharField(allow_null=True)
    is_scheduled = serializers.BooleanField()
    trigger_on_file_upload = serializers.BooleanField()
    trigger_file_extensions = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=WorkflowStatus.choices)
    is_enabled = serializers.BooleanField()
    max_retries = serializers.IntegerField()
    timeout_seconds = serializers.IntegerField()
    retention_days = serializers.IntegerField(allow_null=True)
    retention_failed_days = serializers.IntegerField(allow_null=True)
    retention_count = serializers.IntegerField(allow_null=True)
    total_executions = serializers.IntegerField()
    successful_executions = serializers.IntegerField()
    failed_executions = serializers.IntegerField()
    last_execution_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    trigger_type = serializers.CharField()
    steps = WorkflowStepSerializer(many=True)
    enabled = serializers.BooleanField()
    template_id = serializers.IntegerField(allow_null=True)
    next_run_at = serializers.DateTimeField(allow_null=True)


class LogEntrySerializer(serializers.Serializer[None]):
    timestamp = serializers.DateTimeField(allow_null=True)
    step = serializers.CharField()
    status = serializers.CharField()
    result = serializers.JSONField(allow_null=True)


class ExecutionSerializer(serializers.Serializer[None]):
    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    workflow_id = serializers.IntegerField()
    trigger_type = serializers.ChoiceField(choices=TriggerType.choices)
    trigger_data = serializers.DictField(allow_null=True)
    status = serializers.ChoiceField(choices=ExecutionStatus.choices)
    result_data = serializers.DictField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)
    retry_count = serializers.IntegerField()
    execution_time_ms = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    input_file_ids = serializers.ListField(child=serializers.IntegerField())
    output_file_ids = serializers.ListField(child=serializers.IntegerField())
    log_output = LogEntrySerializer(many=True)
    saga_id = serializers.CharField(allow_null=True)
    correlation_id = serializers.CharField(allow_null=True)
    waiting_on = serializers.CharField(allow_null=True)
    why = serializers.CharField(allow_null=True)
    result_truncated = serializers.BooleanField(required=False)


class StepSerializer(serializers.Serializer[None]):
    id = serializers.IntegerField()
    execution_id = serializers.IntegerField()
    step_order = serializers.IntegerField()
    step_name = serializers.CharField()
    step_type = serializers.CharField()
    status = serializers.CharField()
    execution_time_ms = serializers.IntegerField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    input_data = serializers.JSONField(allow_null=True)
    output_data = serializers.JSONField(allow_null=True)
    error_message = serializers.CharField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)
    retry_count = serializers.IntegerField()
    max_retries = serializers.IntegerField()
    warnings = serializers.ListField(child=serializers.CharField())
    output_truncated = serializers.BooleanField(required=False)


class StepTypeSerializer(serializers.Serializer[None]):
    type = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField())
    title = serializers.CharField()
    version = serializers.IntegerField()
    effect = serializers.CharField()
    lane = serializers.CharField(allow_null=True)
    output_keys = serializers.ListField(child=serializers.CharField())
    config_schema = serializers.DictField()


class VersionSerializer(serializers.Serializer[None]):
    workflow_id = serializers.IntegerField()
    number = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]  # the name of the field, not DRF's option
    definition = serializers.DictField()
    sha256 = serializers.CharField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class WorkflowDeletedSerializer(serializers.Serializer[None]):
    message = serializers.CharField()
    workflow_id = serializers.IntegerField()


class ExecutionCancelledSerializer(serializers.Serializer[None]):
    message = serializers.CharField()
    execution_id = serializers.IntegerField()
    status = serializers.CharField()


class StepRetriedSerializer(serializers.Serializer[None]):
    message = serializers.CharField()
    step_id = serializers.IntegerField()
    execution_id = serializers.IntegerField()
    status = serializers.CharField()


class WorkflowStatusSerializer(serializers.Serializer[None]):
    workflow_id = serializers.IntegerField()
    status = serializers.CharField()
    last_execution = serializers.DateTimeField(allow_null=True)
    execution_count = serializers.IntegerField()
    success_count = serializers.IntegerField()
    failure_count = serializers.IntegerField()


class WorkflowStatisticsSerializer(serializers.Serializer[None]):
    total_workflows = serializers.IntegerField()
    workflow_status_breakdown = serializers.DictField(child=serializers.IntegerField())
    total_executions = serializers.IntegerField()
    execution_status_breakdown = serializers.DictField(child=serializers.IntegerField())
    recent_executions_24h = serializers.IntegerField()


class WorkflowSummarySerializer(serializers.Serializer[None]):
    statistics = WorkflowStatisticsSerializer()


class CronVerdictSerializer(serializers.Serializer[None]):
    cron_expression = serializers.CharField()
    # The contract's name; the method of this name is not used on an answer's shape.
    is_valid = serializers.BooleanField()  # type: ignore[assignment]
    next_runs = serializers.ListField(child=serializers.DateTimeField(), required=False)
    error = serializers.CharField(required=False)
