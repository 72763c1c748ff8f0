"""Secrets over HTTP: names and facts, never values."""

from typing import Any

from rest_framework import serializers

from accounts import secret_services
from accounts.models import Secret

_VALUE_HELP = f"{secret_services.SHORTEST_VALUE} to {secret_services.LONGEST_VALUE} characters; never shown again."


class SecretSerializer(serializers.Serializer[Secret]):
    id = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField()
    version = serializers.IntegerField(help_text="From 1; each rotation adds one.")
    owner_id = serializers.IntegerField()
    created_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    rotated_at = serializers.DateTimeField(allow_null=True)


class SecretValueSerializer(serializers.Serializer[Any]):
    """What changes a secret. Its own bounds are checked by the service, whose refusals repeat no value."""

    value = serializers.CharField(
        required=False, write_only=True, trim_whitespace=False, allow_blank=True, help_text=_VALUE_HELP
    )
    description = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)


class NewSecretSerializer(SecretValueSerializer):
    name = serializers.CharField(
        trim_whitespace=False, allow_blank=True, help_text="What expressions call it: {{secrets.<name>}}."
    )
    value = serializers.CharField(write_only=True, trim_whitespace=False, allow_blank=True, help_text=_VALUE_HELP)
