"""Shapes of requests and answers, for the OpenAPI document and for reading requests. Nothing here writes."""

from rest_framework import serializers


class PublishSerializer(serializers.Serializer[None]):
    event_type = serializers.CharField()
    aggregate_id = serializers.CharField()
    aggregate_type = serializers.CharField()
    # The name of a property of serializers, which is not used while reading.
    data = serializers.DictField()  # type: ignore[assignment]
    correlation_id = serializers.CharField(required=False, allow_null=True, allow_blank=True, max_length=128)


class PublishedSerializer(serializers.Serializer[None]):
    status = serializers.CharField()
    event_id = serializers.UUIDField()
