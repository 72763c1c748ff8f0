"""What storages say when they fail, as errors of ours: not there, full, or not available."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from core import logs
from files.errors import StorageFull, StorageUnavailable

log = logs.get(__name__)

# A file system that takes no more: no room, over a quota, or over the largest file it knows.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Packages of storages; those of the backends not in use are not installed.
_LIBRARIES = {"botocore", "boto3", "s3transfer", "urllib3", "requests", "google", "azure"}
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "401"}
# What S3 says of a bucket that is not there to those who may not list buckets, and of anything by HEAD.
_DENIED = {"AccessDenied", "403"}
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound"}


@contextmanager
def translated(is_there: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn a storage's failure into StorageFull or StorageUnavailable.

    FileNotFoundError stays what it is where `is_there` says that the storage itself is in its place: only then is
    it the file that is missing.
    """
    try:
        yield
    except FileNotFoundError as error:
        if is_there():
            raise
        raise _unavailable(error, "its folder or bucket does not exist") from error
    except OSError as error:
        if is_full(error):
            raise StorageFull from error
        raise _unavailable(error, error.strerror or type(error).__name__) from error
    except Exception as error:
        if not _is_of_library(error):
            raise
        raise _unavailable(error, _reason(error)) from error


def is_full(error: OSError) -> bool:
    """Tell whether this is a file system that takes no more; operators read of it in the log."""
    if error.errno not in _FULL:
        return False
    log.warning("storage.full", error=str(error))
    return True


def _unavailable(error: Exception, reason: str) -> StorageUnavailable:
    # The messages of libraries may name keys' ids; the kind is enough for a log.
    log.warning("storage.unavailable", kind=type(error).__name__, reason=reason)
    return StorageUnavailable(reason)


def _is_of_library(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in _LIBRARIES for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    """Return what an operator can act on."""
    code = _code(error)
    if code in _NO_BUCKET:
        return "its bucket does not exist"
    if code in _REFUSED:
        return "it refuses our credentials"
    if code in _DENIED:
        return "it denies access: the credentials are wrong, or not for this bucket"
    return f"it answers {code}" if code else "it does not answer"


def _code(error: BaseException | None) -> str:
    """Return the storage's own code: of S3's body, of Azure's header, or the HTTP status of Google's."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        if code := getattr(error, "error_code", None) or getattr(error, "code", None):
            return str(code.value if isinstance(code, HTTPStatus) else code)
        # An upload's error holds the request's.
        error = error.__cause__ or error.__context__
    return ""
