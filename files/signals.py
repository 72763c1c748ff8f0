"""News of files, sent inside the transaction that makes it true."""

from django.dispatch import Signal

# file_id: int, owner_id: int, correlation_id: str.
file_uploaded = Signal()

# file_id, owner_id, processing_number: int; correlation_id: str; run_triggers: bool; facts: the contract's
# trigger_data {file_id, filename, file_extension, original_filename, file_size, mime_type}.
file_processed = Signal()

# file_ids: list[int]. A question, not news: retention is about to delete these; a receiver returns the set of those
# that its live work needs. Not in a transaction.
files_expiring = Signal()
