"""Rows: reading a pool in the format it has, finding its text, giving ids, and writing rows in its own schema."""

from tasksift.rows.example import Example, Turn
from tasksift.rows.read import Batch, read
from tasksift.rows.scan import Scanned, iter_examples, iter_texts, scan
from tasksift.rows.sources import PoolFile, expand, file_format, fingerprint
from tasksift.rows.text import TextReader
from tasksift.rows.tokens import TokenCounter
from tasksift.rows.write import check_local, check_out, check_outside, replacing, write_rows, writing

__all__ = [
    "Batch",
    "Example",
    "PoolFile",
    "Scanned",
    "TextReader",
    "TokenCounter",
    "Turn",
    "check_local",
    "check_out",
    "check_outside",
    "expand",
    "file_format",
    "fingerprint",
    "iter_examples",
    "iter_texts",
    "read",
    "replacing",
    "scan",
    "write_rows",
    "writing",
]
