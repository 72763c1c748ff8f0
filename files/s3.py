"""S3 as our storage: django-storages' with signature 4, bounded memory and time, and reads of a part of an object.

Loaded only where STORAGE_BACKEND=s3 (`config.storages`).
"""

import logging
from typing import IO, Any

from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

_PART_BYTES = 8 * 1024**2
_CONNECT_SECONDS = 3
_READ_SECONDS = 20
_ATTEMPTS = 2
_NOT_FOUND = 404

# At DEBUG they write every request with its signature.
for _name in ("botocore", "boto3", "s3transfer"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class S3Bucket(S3Storage):  # type: ignore[misc]  # the package has no types
    """One bucket. Parts of an upload go one after the other: threads would hold ten of them in memory."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options | {"signature_version": "s3v4", "file_overwrite": True, "default_acl": None, "gzip": False},
            transfer_config=TransferConfig(
                multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False
            ),
            client_config=Config(
                signature_version="s3v4",
                s3={"addressing_style": options.get("addressing_style") or "auto"},
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                # Checksums beyond what is required are headers that older servers do not know.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def open_span(self, name: str, first: int, last: int | None) -> IO[bytes]:
        """Ask for the bytes `first` to `last` (inclusive; None: to the end) and return them as a stream.

        Raises: FileNotFoundError.
        """
        key = self._normalize_name(clean_name(name))
        wanted = {} if first == 0 and last is None else {"Range": f"bytes={first}-{'' if last is None else last}"}
        try:
            answer = self.connection.meta.client.get_object(Bucket=self.bucket_name, Key=key, **wanted)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == _NOT_FOUND:
                raise FileNotFoundError(name) from error
            raise
        stream: IO[bytes] = answer["Body"]
        return stream
