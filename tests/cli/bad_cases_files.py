"""What can be wrong with the pool, with vectors and with targets."""

from __future__ import annotations

import gzip
import json
import os
import pickle

import numpy as np
from bad_case import (
    GOOD,
    TABLE,
    Case,
    array,
    arrow,
    both,
    file,
    make_folder,
    noise,
    option_case,
    parquet,
    pool_case,
    text_rows,
    truncated,
    vectors_case,
    with_value,
    zst_file,
)

POOLS = [
    pool_case("empty.jsonl", b"", "is empty (0 bytes)", "leave it out or fill it"),
    pool_case("blank.jsonl", b"\n  \n\t\n", "holds no rows", "leave it out or fill it"),
    Case("missing-file", ("nowhere.jsonl does not exist", "folders, globs"), pool="nowhere.jsonl"),
    Case("folder-without-files", ("docs holds no file to read", ".jsonl"), make_folder("docs/a.txt"), pool="docs"),
    Case("empty-glob", ("shard-*.jsonl holds no file to read",), pool="'shard-*.jsonl'"),
    pool_case("pool.txt", GOOD, "suffix that is not known", ".parquet"),
    pool_case(
        "columns.jsonl", b'{"a": 1, "b": 2}\n', "line 1", "no text is recognised", "the columns a, b", "--text-template"
    ),
    Case(
        "template-of-a-missing-field",
        ("target.jsonl, line 1", "'question' is not in the columns text, source", "--text-template"),
        more="--text-template '{question}'",
    ),
    option_case("open-brace", "--text-template '{text'", "--text-template '{text'", "'{' is not a field", "{column}"),
    option_case("empty-field", "--text-template '{}'", "'{}' is not a field", "{column}"),
    option_case("no-field", "--text-template hello", "'hello' names no column", "{question}"),
    option_case("bad-target-template", "--target-template '{x'", "--target-template '{x'", "'{' is not a field"),
    option_case(
        "target-template-of-a-missing-field",
        "--target-template '{x}'",
        "target.jsonl, line 1",
        "'x' is not in the columns text, source",
        "--target-template",
    ),
    pool_case(
        "middle.jsonl", GOOD + b'{"text": "cut\n' + GOOD, "line 41", "not JSON", "column", "mend or remove the line"
    ),
    pool_case("list.jsonl", GOOD + b'["a", "b"]\n', "line 41", "a list, not an object", "rename the file to .json"),
    pool_case("word.jsonl", GOOD + b'"a"\n', "line 41", "a string, not an object", '{"text": ...}'),
    pool_case("cut.jsonl.gz", truncated(gzip.compress(GOOD, mtime=0)), "gz data is damaged or cut off", "again"),
    Case(
        "cut.jsonl.zst",
        ("cut.jsonl.zst", "zst data is damaged", "again"),
        zst_file("cut.jsonl.zst", GOOD, 0.6),
        pool="cut.jsonl.zst",
    ),
    pool_case("plain.jsonl.gz", GOOD, "not what its suffix .gz says"),
    pool_case("packed.jsonl", gzip.compress(GOOD, mtime=0), "compressed with gzip", "packed.jsonl.gz"),
    pool_case("text.parquet", GOOD, "not what its suffix .parquet says"),
    pool_case("table.jsonl", parquet(TABLE), "is a Parquet file", "rename it to table.parquet"),
    pool_case("ragged.csv", b"text,source\nhello,a\nworld,b,c\n", "line 3", "3 fields where the header has 2"),
    pool_case("header.csv", b"text,source\n", "holds no rows"),
    pool_case("twice.csv", b"text,source,text\na,b,c\n", "column 'text' stands there 2 times", "rename one"),
    pool_case("quote.csv", b'text,source\n"open,a\nmore,b\n', "line 2", "not CSV"),
    pool_case("wide.jsonl", GOOD.decode().encode("utf-16"), "line 1", "not UTF-8", "iconv -f utf-16"),
    pool_case("latin.jsonl", GOOD + '{"text": "café"}\n'.encode("latin-1"), "line 41", "0xe9", "iconv -f latin1"),
    pool_case("nul.jsonl", GOOD + b"\0" * 64 + b"\n", "line 41", "not JSON", "remove the line"),
    pool_case("junk.jsonl", bytes(np.random.default_rng(0).integers(128, 256, 999, dtype=np.uint8)), "line 1", "UTF-8"),
    pool_case("junk.parquet", b"PAR1" + bytes(range(200)) + b"PAR1", "parquet data is damaged", "again"),
    pool_case("object.json", b'{"name": "x", "version": 1}', "an object with 0 lists", "keys: name, version"),
    pool_case("scalar.json", b"3", "a number, not a list of records"),
    pool_case("cut.json", truncated(json.dumps(text_rows(9)).encode()), "not JSON", "line 1", "column"),
    pool_case("lines.json", GOOD, "Extra data", "rename it to .jsonl"),
    pool_case("mixed.json", b'[{"text": "a"}, 7]', "row 1", "a number, not a dict"),
    pool_case("cut.arrow", truncated(arrow(TABLE)), "arrow data is damaged or cut off", "again"),
    pool_case("cut.parquet", truncated(parquet(TABLE)), "parquet data is damaged or cut off", "again"),
    pool_case("none.parquet", parquet(TABLE.slice(0, 0)), "holds no rows"),
    pool_case("deep.jsonl", b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line 1", "nested too deeply"),
    pool_case(
        "long.jsonl", GOOD + b'{"text": "a", "n": ' + b"9" * 9000 + b"}\n", "line 41", "not readable as JSON", "mend"
    ),
    pool_case("chat.jsonl", b'{"messages": [{"role": "user"}]}\n', "line 1", "turn 0 of 'messages' lacks role and"),
    Case("same-file-twice", ("pool.jsonl given twice", "name each file once"), pool="pool.jsonl pool.jsonl"),
    Case(
        "same-file-by-two-names",
        ("given twice", "docs/../pool.jsonl"),
        make_folder("docs/a.txt"),
        pool="pool.jsonl docs/../pool.jsonl",
    ),
    Case("bad-hub-name", ("hf::train", "hf:NAME[:CONFIG][:SPLIT]"), pool="hf::train"),
]

VECTORS = [
    vectors_case("nan", array("v.npy", with_value(40, 4, 17, np.nan)), "--vectors v.npy", "row 17", "NaN", "remove it"),
    vectors_case("inf", array("v.npy", with_value(40, 4, 17, np.inf)), "--vectors v.npy", "row 17", "infinite"),
    vectors_case("zero", array("v.npy", with_value(40, 4, 17, 0)), "row 17 is zero", "--no-normalize"),
    vectors_case("zero-no-normalize-nan", array("v.npy", with_value(40, 4, 3, np.nan)), "row 3", more="--no-normalize"),
    vectors_case("dims", array("v.npy", noise(40, 5)), "has 5 dimensions", "t.npy has 4", "same model"),
    Case(
        "rows-mismatch",
        ("the pool has 60 rows", "--vectors v.npy has 40", "row by row"),
        both(array("v.npy", noise(40, 4)), array("t.npy", noise(3, 4))),
        more="--vectors v.npy --target-vectors t.npy",
    ),
    Case(
        "targets-mismatch",
        ("--target has 3 rows", "--target-vectors t.npy has 2", "row by row"),
        both(array("v.npy", noise(60, 4)), array("t.npy", noise(2, 4))),
        more="--vectors v.npy --target-vectors t.npy",
    ),
    option_case("vectors-alone", "--vectors v.npy", "--vectors needs --target-vectors", "same model"),
    option_case("target-vectors-alone", "--target-vectors t.npy", "--target-vectors needs --vectors", "same model"),
    vectors_case("pickled", array("v.npy", np.array([[{"a": 1}]] * 4)), "pickled Python objects", "float32"),
    vectors_case("pickle-file", file("v.npy", pickle.dumps([[1.0]])), "is not a .npy file", "numpy.save"),
    vectors_case("1-d", array("v.npy", np.ones(4)), "has shape (4,)", "rows × dimensions"),
    vectors_case("3-d", array("v.npy", np.ones((4, 2, 2))), "has shape (4, 2, 2)", "rows × dimensions"),
    vectors_case("complex", array("v.npy", np.ones((4, 4), np.complex64)), "complex64, not real numbers", "float32"),
    vectors_case("text-array", array("v.npy", np.full((4, 4), "a")), "not real numbers", "float32"),
    vectors_case("0-rows", array("v.npy", np.ones((0, 4))), "--vectors v.npy is empty", "0 rows"),
    vectors_case("0-dims", array("v.npy", np.ones((4, 0))), "(4, 0)", "0 dimensions"),
    vectors_case(
        "npz",
        lambda folder: np.savez(folder / "v.npz", a=np.ones((4, 4))) or (folder / "v.npz").rename(folder / "v.npy"),
        "is a .npz archive",
        "numpy.save",
    ),
    vectors_case(
        "cut", both(array("v.npy", noise(40, 4)), lambda f: os.truncate(f / "v.npy", 300)), "truncated", "300"
    ),
    vectors_case(
        "cut-header", both(array("v.npy", noise(4, 4)), lambda f: os.truncate(f / "v.npy", 20)), "damaged header"
    ),
    vectors_case("no-such-vectors", lambda folder: None, "--vectors v.npy does not exist"),
    vectors_case("folder-without-npy", make_folder("v.npy/readme.txt"), "--vectors v.npy holds no .npy files"),
    vectors_case(
        "shards-of-different-dims",
        both(array("v.npy/shard-0.npy", noise(4, 4)), array("v.npy/shard-1.npy", noise(4, 3))),
        "shard-1.npy has 3 dimensions",
        "shard-0.npy has 4",
    ),
    vectors_case(
        "nan-target",
        both(array("v.npy", noise(4, 4)), array("t.npy", with_value(2, 4, 1, np.nan))),
        "--target-vectors t.npy",
        "row 1",
        budget="-b 2",
    ),
    vectors_case(
        "tokens-of-vectors",
        array("v.npy", noise(40, 4)),
        "500tok counts tokens",
        "vectors alone have none",
        budget="-b 500tok",
    ),
    vectors_case("id-column-of-vectors", array("v.npy", noise(40, 4)), "--id-column needs rows", more="--id-column id"),
    vectors_case("too-many-vectors", array("v.npy", noise(4, 4)), "10 rows", "has 4"),
]

TARGETS = [
    Case("empty-target", ("target.jsonl is empty", "fill it"), file("target.jsonl", b"")),
    Case("missing-target", ("target: dev.jsonl does not exist",), target="-t dev.jsonl"),
    Case(
        "blank-target-row", ("target.jsonl, line 2", "no text"), file("target.jsonl", b'{"text":"a"}\n{"text":" "}\n')
    ),
    Case("no-target", ("no target", "--target FILE"), target=""),
    Case("no-budget", ("no --budget", "1%"), budget=""),
    Case("no-out", ("no --out", "--out picked.jsonl"), out=""),
    Case("no-pool", ("no pool", "--vectors"), pool=""),
]
