"""Counting tokens: with a tokenizer, or an estimate from the length of the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasksift.errors import InputError, MissingExtraError
from tasksift.rows.encode import well_formed


class TokenCounter:
    """Counts the tokens of texts.

    Parameters
    ----------
    path : str, Path or None
        A Hugging Face ``tokenizer.json``, or the folder that holds it. None: a quarter of the bytes in UTF-8, rounded
        up and at least 1.

    Attributes
    ----------
    rule : str
        In words, how tokens are counted.

    Raises
    ------
    InputError
        The file is missing or not a tokenizer.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._tokenizer = None if path is None else _load(Path(path))
        self.rule = "estimate: bytes of UTF-8 / 4, rounded up" if path is None else f"tokenizer {path}"

    def count(self, texts: list[str]) -> list[int]:
        """Return the number of tokens of each text; special tokens, truncation and padding do not count."""
        if self._tokenizer is None:
            return [
                max(1, -(-(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) // 4))
                for text in texts
            ]
        encode = getattr(self._tokenizer, "encode_batch_fast", self._tokenizer.encode_batch)  # new in tokenizers 0.20
        return [len(encoding) for encoding in encode([well_formed(text) for text in texts], add_special_tokens=False)]


def _load(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtraError("tokenizers", "tokenizers", "counting tokens with a tokenizer") from None
    if path.is_dir():
        path = path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_buffer(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the tokenizer {path}: {error.strerror}") from None
    except ValueError as error:
        detail = " ".join(str(error).split())
        raise InputError(f"{path} is not a tokenizer.json of Hugging Face tokenizers ({detail})") from None
    # A tokenizer.json may carry the limits of the model it was saved with; they would cap every count.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
