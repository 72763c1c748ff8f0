"""Users, owners, API keys, secrets and the audit trail."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.choices import OwnerKind, Scope
from core import clock

SERVICE_OWNER_NAME = "service"


class UserManager(BaseUserManager["User"]):
    """Makes users; the email address is the login name."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in with an email address (seed 002: UUID key)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(max_length=255, unique=True)
    full_name = models.CharField(max_length=255, blank=True)
    password = models.CharField(max_length=255, db_column="hashed_password")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False, help_text="May sign in to the admin.")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "users"
        ordering = ("email",)

    def __str__(self) -> str:
        return self.email


class Owner(models.Model):
    """Whom rows belong to: a user, a team of users, or the built-in `service` of all old clients."""

    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=16, choices=OwnerKind)
    user = models.OneToOneField(User, null=True, blank=True, on_delete=models.CASCADE, related_name="owner")
    members = models.ManyToManyField(User, blank=True, related_name="teams")
    file_quota_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="How much its files may take, in bytes. Empty: FILE_QUOTA decides."
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        db_table = "owners"
        ordering = ("name", "id")
        constraints = (
            models.UniqueConstraint(fields=("kind",), condition=models.Q(kind="service"), name="owners_one_service"),
        )

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A key that acts for an owner. Only the SHA-256 of its 256 random bits is stored."""

    owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=255)
    prefix = models.CharField(max_length=16, help_text="The visible beginning of the key.")
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    scopes = ArrayField(models.CharField(max_length=16, choices=Scope))
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        db_table = "api_keys"
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Secret(models.Model):
    """A value that workflows of an owner use as `{{secrets.<name>}}`. Written only: nothing ever shows it."""

    owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="secrets", db_index=False)
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=255, blank=True)
    value_encrypted = models.TextField(editable=False, help_text="Fernet, by the first of FIELD_ENCRYPTION_KEYS.")
    version = models.IntegerField(default=1, editable=False, help_text="From 1; each rotation adds one.")
    created_by = models.CharField(max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    rotated_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "secrets"
        ordering = ("name", "id")
        constraints = (models.UniqueConstraint(fields=("owner", "name"), name="secrets_name_per_owner"),)

    def __str__(self) -> str:
        return self.name


class RetiredSecret(models.Model):
    """A value that was rotated or deleted; kept for a while, only so that it stays masked where it turns up again."""

    owner = models.ForeignKey(Owner, on_delete=models.CASCADE, related_name="+", db_index=False)
    value_encrypted = models.TextField(editable=False)
    retired_at = models.DateTimeField(default=clock.now)

    class Meta:
        db_table = "retired_secrets"
        ordering = ("-id",)
        indexes = (
            # Reader: the values to mask in an owner's executions, the newest first.
            models.Index(fields=("owner", "-id"), name="retired_secrets_by_owner"),
        )

    def __str__(self) -> str:
        return f"a former value, retired {self.retired_at:%Y-%m-%d}"


class AuditEntry(models.Model):
    """Who changed what, written by services in the change's own transaction."""

    actor = models.CharField(max_length=255, help_text="An email address, a key's prefix, or 'system'.")
    owner = models.ForeignKey(Owner, null=True, on_delete=models.SET_NULL, db_constraint=False)
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=64)
    object_id = models.CharField(max_length=64)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    request_id = models.CharField(max_length=128, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(default=clock.now, db_index=True)

    class Meta:
        db_table = "audit_entries"
        ordering = ("-id",)
        verbose_name_plural = "audit entries"
        indexes = (
            # Reader: the history of one object in the admin.
            models.Index(fields=("object_type", "object_id", "-id"), name="audit_by_object"),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}"
