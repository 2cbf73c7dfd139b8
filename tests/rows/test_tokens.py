import sys

import pytest

from tasksift.errors import InputError, MissingExtraError
from tasksift.rows import TokenCounter


@pytest.fixture(scope="module")
def tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import models, pre_tokenizers, processors, trainers

    made = tokenizers.Tokenizer(models.WordLevel(unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator(["one two three"], trainers.WordLevelTrainer(special_tokens=["?", "[CLS]"]))
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 1)])
    made.enable_truncation(3)
    made.enable_padding(length=3)
    return made


def test_estimate_is_a_quarter_of_the_bytes():
    counter = TokenCounter()
    assert counter.count(["", "a", "abcd", "abcde", "é" * 4, "\ud800", "\U0001f600"]) == [1, 1, 1, 2, 2, 1, 1]
    assert counter.count([]) == []
    assert counter.rule == "estimate: bytes of UTF-8 / 4, rounded up"


@pytest.mark.parametrize("folder", [False, True])
def test_a_tokenizer_counts_without_special_tokens_truncation_and_padding(tmp_path, tokenizer, folder):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    counter = TokenCounter(str(tmp_path if folder else path))
    assert counter.count(["one", "one two three four one", "", "one \ud800"]) == [1, 5, 0, 2]
    assert counter.rule == f"tokenizer {tmp_path if folder else path}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"cannot read the tokenizer .*tokenizer\.json: No such file"),
        (b"not json", r"tokenizer\.json is not a tokenizer\.json of Hugging Face tokenizers"),
        (b'{"model": 3}', "is not a tokenizer"),
    ],
)
def test_files_that_are_no_tokenizer(tmp_path, data, message):
    pytest.importorskip("tokenizers")
    if data is not None:
        (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(InputError, match=message):
        TokenCounter(tmp_path)


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"tasksift\[tokenizers\]"):
        TokenCounter("tokenizer.json")
