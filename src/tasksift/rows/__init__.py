"""Rows: reading a pool in the format it has, finding its text, giving ids, and writing rows in its own schema."""

from tasksift.rows.read import Batch, read
from tasksift.rows.scan import Scanned, check_user_ids, iter_texts, make_ids, scan
from tasksift.rows.sources import PoolFile, expand, file_format, fingerprint
from tasksift.rows.text import TextReader
from tasksift.rows.tokens import TokenCounter
from tasksift.rows.write import check_out, replacing, write_rows, writing

__all__ = [
    "Batch",
    "PoolFile",
    "Scanned",
    "TextReader",
    "TokenCounter",
    "check_out",
    "check_user_ids",
    "expand",
    "file_format",
    "fingerprint",
    "iter_texts",
    "make_ids",
    "read",
    "replacing",
    "scan",
    "write_rows",
    "writing",
]
