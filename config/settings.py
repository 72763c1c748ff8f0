"""Settings: every value comes from the environment through `config.env`; see `.env.example`.

One module for development, tests and production. Production (`ENV=production`) differs only by
values, and by the system checks of `config.checks` that refuse unsafe ones.
"""

from email.utils import formataddr
from pathlib import Path

import django_stubs_ext

from config import admin_site, env, storages
from core.secrets import derive_key

# Lets Django's generic classes be written with their types at run time too.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "1.0.0"

# --- Core -----------------------------------------------------------------------------------
ENVIRONMENT = env.text("ENV", "ENVIRONMENT", default="development")
PRODUCTION = ENVIRONMENT == "production"
DEBUG = env.boolean("DEBUG", default=False)
LOG_LEVEL = env.one_of("LOG_LEVEL", default="INFO", allowed=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
STRUCTURED_LOGGING = env.boolean("STRUCTURED_LOGGING", default=True)
DATA_DIR = Path(env.text("DATA_DIR", default=str(BASE_DIR / ".data"))).resolve()

# --- Secrets: one root secret, everything else may be derived from it (contract 16) ----------
JWT_SECRET_KEY = env.text("JWT_SECRET_KEY", "SECRET_KEY", default="development-only-secret-change-me")
SECRET_KEY = env.text("DJANGO_SECRET_KEY") or derive_key(JWT_SECRET_KEY, label="django-secret-key")
FIELD_ENCRYPTION_KEYS = env.csv("FIELD_ENCRYPTION_KEYS") or [derive_key(JWT_SECRET_KEY, label="field-encryption")]
WEBHOOK_SECRET_KEY = env.text("WEBHOOK_SECRET_KEY") or derive_key(JWT_SECRET_KEY, label="webhook-secret")
JWT_ALGORITHM = env.text("JWT_ALGORITHM", "ALGORITHM", default="HS256")
ACCESS_TOKEN_EXPIRE_MINUTES = env.integer("ACCESS_TOKEN_EXPIRE_MINUTES", "JWT_EXPIRE_MINUTES", default=30, minimum=1)
SERVICE_API_KEYS = [key for key in (env.text("API_KEY"), env.text("INTERNAL_API_KEY")) if key]
AUTH_SERVICE_URL = env.text("AUTH_SERVICE_URL")
# "validate" (POST {url}/validate) or "introspection" (RFC 7662).
AUTH_SERVICE_MODE = env.one_of("AUTH_SERVICE_MODE", default="validate", allowed=("validate", "introspection"))
REQUIRE_API_KEY = env.boolean("REQUIRE_API_KEY", default=True)

# --- Web ------------------------------------------------------------------------------------
ALLOWED_HOSTS = env.csv("ALLOWED_HOSTS", default="*")
CSRF_TRUSTED_ORIGINS = env.csv("CSRF_TRUSTED_ORIGINS")
CORS_ORIGINS = env.csv("CORS_ORIGINS", "ALLOWED_ORIGINS", default="*")
CORS_ALLOW_CREDENTIALS = env.boolean("CORS_ALLOW_CREDENTIALS", default=False)
CORS_ALLOW_METHODS = env.csv("CORS_ALLOW_METHODS", default="GET,POST,PUT,DELETE,PATCH,OPTIONS")
CORS_ALLOW_HEADERS = env.csv(
    "CORS_ALLOW_HEADERS",
    default="Accept,Content-Type,Authorization,X-API-Key,X-Request-ID,X-Correlation-ID,X-Service-Name,X-Trace-ID,"
    "Cache-Control,Pragma",
)
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# The contract serves every path with and without a slash itself; Django's redirect would lose POST bodies.
APPEND_SLASH = False
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.boolean("TRUST_PROXY", default=False) else None
HTTPS_ONLY = env.boolean("HTTPS_ONLY", default=PRODUCTION)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "config.apps.CompositionRoot",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "core",
    "accounts",
    "files",
    "notifications",
    "webhooks",
    "workflows",
    "templates_app",
    "automation",
]
MIDDLEWARE = [
    "core.api.middleware.RequestContextMiddleware",
    "core.api.middleware.CorsMiddleware",
    "core.api.middleware.OptionalSlashMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "core.admin.policy.AdminPolicyMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
# Served straight from the packages: nothing to collect before the first start.
STATIC_ROOT = env.text("STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = True

# --- Database -------------------------------------------------------------------------------
DATABASE_URL = env.text("DATABASE_URL", default="postgresql://postgres@127.0.0.1:5432/automation")
# Statements of the engine's path are prepared on the server after so many uses; 0 switches that off, for
# connection poolers that cannot carry prepared statements.
DATABASE_PREPARE_THRESHOLD = env.integer("DATABASE_PREPARE_THRESHOLD", default=3, minimum=0)
DATABASES = {
    "default": env.database(
        DATABASE_URL, {"connect_timeout": 5, "prepare_threshold": DATABASE_PREPARE_THRESHOLD or None}
    )
    | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, "ATOMIC_REQUESTS": False}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False

# --- Broker ---------------------------------------------------------------------------------
REDIS_PASSWORD = env.text("REDIS_PASSWORD")
REDIS_URL = env.redis_url("REDIS_URL", default="redis://127.0.0.1:6379/0", password=REDIS_PASSWORD)
CELERY_BROKER_URL = env.broker_url("CELERY_BROKER_URL", default=REDIS_URL, password=REDIS_PASSWORD)
CELERY_TASK_TIME_LIMIT = env.integer("CELERY_TASK_TIME_LIMIT", default=1800, minimum=1)
CELERY_TASK_SOFT_TIME_LIMIT = env.integer("CELERY_TASK_SOFT_TIME_LIMIT", default=1500, minimum=1)
# The cache holds rate-limit counters only; losing it loses nothing.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

# --- Users ----------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# --- API ------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.ApiKeyAuthentication",
        "accounts.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": [
        "core.api.renderers.ContractJSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["core.api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "core.api.negotiation.ContractNegotiation",
    "DEFAULT_THROTTLE_CLASSES": ["core.api.ratelimit.BucketThrottle"],
    "EXCEPTION_HANDLER": "core.api.errors.render_error",
    # `?format=` is a parameter of the contract's own paths.
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": None,
    "COMPACT_JSON": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "PyAirtable Automation",
    "DESCRIPTION": "Files, workflows, executions: the backward-compatible API of the automation server.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        "WorkflowStatusEnum": "workflows.choices.WorkflowStatus",
        "ExecutionStatusEnum": "workflows.choices.ExecutionStatus",
        "FileStatusEnum": "files.choices.FileStatus",
    },
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "core.api.openapi.add_errors"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
RATE_LIMIT_ENABLED = env.boolean("RATE_LIMIT_ENABLED", default=True)
# Requests per minute and key, by bucket (contract 3); 0 lifts a limit.
RATE_LIMITS = {
    "templates": env.integer("RATE_LIMIT_TEMPLATES", default=100, minimum=0),
    "workflow_create": env.integer("RATE_LIMIT_WORKFLOW_CREATE", default=50, minimum=0),
    "execute": env.integer("RATE_LIMIT_EXECUTE", default=200, minimum=0),
    "monitoring": env.integer("RATE_LIMIT_MONITORING", default=500, minimum=0),
    "default": env.integer("RATE_LIMIT_DEFAULT", default=500, minimum=0),
}
MAX_JSON_BODY_BYTES = env.size_bytes("MAX_JSON_BODY", default="10MB")
MAX_JSON_DEPTH = 100
# DRF reads bodies through the bounded parser; this bounds the admin's forms.
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_JSON_BODY_BYTES

# --- Admin ----------------------------------------------------------------------------------
UNFOLD = admin_site.UNFOLD

# --- Files ----------------------------------------------------------------------------------
MAX_FILE_SIZE_TEXT = env.text("MAX_FILE_SIZE", default="10MB")
MAX_FILE_SIZE_BYTES = env.size_bytes("MAX_FILE_SIZE", default="10MB")
ALLOWED_EXTENSIONS = [
    item.lower().lstrip(".") for item in env.csv("ALLOWED_EXTENSIONS", default="pdf,doc,docx,txt,csv,xlsx")
]
UPLOAD_DIR = Path(env.text("UPLOAD_DIR", "UPLOAD_DIRECTORY", default="/tmp/uploads"))  # noqa: S108  (the seed's default; `make run` sets its own)
STORAGE_BACKEND = storages.backend()
STORAGES = {
    "default": storages.entry(STORAGE_BACKEND, upload_dir=UPLOAD_DIR),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
# How long a signed address of a file's bytes works.
DOWNLOAD_URL_SECONDS = env.integer("DOWNLOAD_URL_SECONDS", default=300, minimum=1)
# What all files of one owner may take; an owner's own figure (Owner.file_quota_bytes) comes before it.
FILE_QUOTA_BYTES = env.size_bytes("FILE_QUOTA", default="") if env.text("FILE_QUOTA") else None
# Files go so many days after their upload; 0 keeps them for ever.
FILE_RETENTION_DAYS = env.integer("FILE_RETENTION_DAYS", default=0, minimum=0)
EXTRACT_MEMORY_BYTES = env.size_bytes("EXTRACT_MEMORY", default="1GB")
EXTRACT_CPU_SECONDS = env.integer("EXTRACT_CPU_SECONDS", default=30, minimum=1)
EXTRACT_WALL_SECONDS = env.integer("EXTRACT_WALL_SECONDS", default=60, minimum=1)
EXTRACT_WARM_SERVER = env.boolean("EXTRACT_WARM_SERVER", default=True)
PDF_TABLE_PAGES = env.integer("PDF_TABLE_PAGES", default=3, minimum=0)
PDF_OCR_PAGES = env.integer("PDF_OCR_PAGES", default=10, minimum=0)
OCR_LANGUAGE = env.text("OCR_LANGUAGE", default="en")

# --- Workflows ------------------------------------------------------------------------------
COMPENSATION_TIMEOUT_SECONDS = env.integer("COMPENSATION_TIMEOUT_SECONDS", default=600, minimum=1)
DEFAULT_WORKFLOW_TIMEOUT_SECONDS = env.integer("DEFAULT_WORKFLOW_TIMEOUT", default=300, minimum=1)
MAX_WORKFLOW_RETRIES = env.integer("MAX_WORKFLOW_RETRIES", default=3, minimum=0)
SCHEDULER_CHECK_INTERVAL_SECONDS = env.integer("SCHEDULER_CHECK_INTERVAL", "SCHEDULER_INTERVAL", default=30, minimum=1)
WORKFLOW_ENV_ALLOWLIST = env.csv("WORKFLOW_ENV_ALLOWLIST")
# An output over the first is kept in the storage; one over the second fails its step.
SPILL_OUTPUT_BYTES = env.size_bytes("SPILL_OUTPUT", default="256KB")
MAX_STEP_OUTPUT_BYTES = env.size_bytes("MAX_STEP_OUTPUT", default="10MB")
# What is kept of ended executions, where their workflow does not say; 0 keeps any number.
RETENTION_DAYS = env.integer("RETENTION_DAYS", default=30, minimum=1)
RETENTION_FAILED_DAYS = env.integer("RETENTION_FAILED_DAYS", default=RETENTION_DAYS, minimum=1)
RETENTION_COUNT = env.integer("RETENTION_COUNT", default=0, minimum=0)
EVENT_STORE_RETENTION_DAYS = env.integer("EVENT_STORE_RETENTION_DAYS", default=90, minimum=1)
LEASE_SECONDS = env.number("LEASE_SECONDS", default=30.0, minimum=0.5)
SWEEP_INTERVAL_SECONDS = env.number("SWEEP_INTERVAL_SECONDS", default=1.0, minimum=0.05)
# Base of the contract's 1, 2, 4 s retry ladder; tests shorten it.
RETRY_BASE_SECONDS = env.number("RETRY_BASE_SECONDS", default=1.0)
# Processes (threads in the io lane) that serve each lane: bounds how many bells may be unheard.
LANE_CONCURRENCY = {
    "flow": env.integer("FLOW_CONCURRENCY", default=2, minimum=1),
    "io": env.integer("IO_CONCURRENCY", default=16, minimum=1),
    "files": env.integer("FILES_CONCURRENCY", default=2, minimum=1),
}
EGRESS_ALLOWLIST = env.csv("EGRESS_ALLOWLIST")
# Modules that register further step types, beside installed apps and entry points.
STEP_MODULES = env.csv("STEP_MODULES")
# Names of fault points armed in this process (tests/chaos); empty everywhere else.
FAULT_POINTS = env.text("FAULT_POINTS")

# --- Mail -----------------------------------------------------------------------------------
EMAIL_BACKEND = "notifications.smtp.EmailBackend"
EMAIL_HOST = env.text("SMTP_HOST", default="localhost")
EMAIL_PORT = env.integer("SMTP_PORT", default=587, minimum=1)
EMAIL_HOST_USER = env.text("SMTP_USERNAME", "SMTP_USER")
EMAIL_HOST_PASSWORD = env.text("SMTP_PASSWORD")
# TLS from the first byte (465) or after STARTTLS (587): whoever asks for the first does not mean the second.
EMAIL_USE_SSL = env.boolean("SMTP_USE_SSL", default=False)
EMAIL_USE_TLS = env.boolean("SMTP_USE_TLS", default=not EMAIL_USE_SSL)
# Wall clock of one whole conversation.
EMAIL_TIMEOUT = env.integer("SMTP_TIMEOUT", default=30, minimum=1)
NOTIFICATION_FROM_EMAIL = env.text("NOTIFICATION_FROM_EMAIL", default="noreply@pyairtable.com")
NOTIFICATION_FROM_NAME = env.text("NOTIFICATION_FROM_NAME", default="PyAirtable")
DEFAULT_FROM_EMAIL = SERVER_EMAIL = formataddr((NOTIFICATION_FROM_NAME, NOTIFICATION_FROM_EMAIL))

# --- Observability --------------------------------------------------------------------------
ENABLE_METRICS = env.boolean("ENABLE_METRICS", default=True)
# structlog configures the loggers when config.apps is ready (core.logs.configure).
LOGGING_CONFIG = None

# What the operator gave explicitly, for the system checks.
SETTINGS_GIVEN = {name for name in ("DATABASE_URL",) if env.text(name)}
