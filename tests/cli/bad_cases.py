"""What can be wrong with a request or its data, and what the one line that says it has to name."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tasksift as ts

Make = Callable[[Path], object]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ts.__file__).parents[1])}


@dataclass(frozen=True)
class Case:
    """A command line, the files it needs besides pool and target, and what the message has to say."""

    name: str
    facts: tuple[str, ...]
    make: Make | None = None
    pool: str = "pool.jsonl"
    target: str = "-t target.jsonl"
    budget: str = "-b 10"
    out: str = "picked.jsonl"
    more: str = ""

    def args(self) -> list[str]:
        out = f"-o {self.out}" if self.out else ""
        return ["select", *shlex.split(f"{self.pool} {self.target} {self.budget} {out} --dim 8 {self.more}")]


def text_rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"word{k} and word{k + 1} make {k}", "source": "abc"[k % 3]} for k in range(start, start + n)]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


GOOD = as_lines(text_rows(40))
TABLE = pa.Table.from_pylist(text_rows(400))


def file(name: str, data: bytes) -> Make:
    return lambda folder: (folder / name).write_bytes(data)


def array(name: str, value: Any) -> Make:
    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, value, allow_pickle=True)

    return make


def both(*makes: Make) -> Make:
    def make(folder: Path) -> None:
        for each in makes:
            each(folder)

    return make


def parquet(table: pa.Table, row_group_size: int = 50) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=row_group_size)
    return sink.getvalue()


def arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    return sink.getvalue()


def zst_file(name: str, data: bytes, keep: float) -> Make:
    def make(folder: Path) -> None:
        with pa.CompressedOutputStream(str(folder / name), "zstd") as stream:
            stream.write(data)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(keep * len(whole))])

    return make


def noise(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def with_value(rows: int, dim: int, row: int, value: float) -> np.ndarray:
    vectors = noise(rows, dim)
    vectors[row] = value
    return vectors


def pool_case(name: str, data: bytes, *facts: str, **more: Any) -> Case:
    """A pool file with some content."""
    return Case(name.replace(" ", "-"), (name, *facts), file(name, data), pool=name, **more)


def vectors_case(name: str, make: Make, *facts: str, more: str = "", **rest: Any) -> Case:
    """Vectors without rows, with targets' vectors t.npy of 4 dimensions."""
    return Case(
        name,
        facts,
        both(array("t.npy", noise(2, 4)), make),
        pool="",
        target="",
        more=f"--vectors v.npy --target-vectors t.npy {more}",
        **rest,
    )


def option_case(name: str, more: str, *facts: str, **rest: Any) -> Case:
    return Case(name, facts, more=more, **rest)


def truncated(data: bytes, keep: float = 0.5) -> bytes:
    return data[: int(keep * len(data))]


def make_duplicates(folder: Path) -> None:
    same = [{"text": "the very same text", "source": "a"}] * 30
    (folder / "copies.jsonl").write_bytes(as_lines(same + text_rows(3)))


def make_two_tables(folder: Path) -> None:
    pq.write_table(pa.table({"text": [f"number {k}" for k in range(5)], "n": list(range(5))}), folder / "a.parquet")
    pq.write_table(
        pa.table({"text": [f"list {k}" for k in range(5)], "n": [[str(k)] for k in range(5)]}), folder / "b.parquet"
    )


def make_run_folder(folder: Path) -> None:
    (folder / "picked.jsonl.run").mkdir()
    (folder / "picked.jsonl.run" / "notes.txt").write_text("mine")


def make_folder(*names: str) -> Make:
    def make(folder: Path) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("nothing to read")

    return make


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

BUDGETS = [
    *(
        Case(f"budget={text}", (f"the budget {text}", fact, "write rows (1000)"), budget=f"--budget={text}")
        for text, fact in [
            ("0", "is not positive"),
            ("-5", "is not positive"),
            ("0%", "is not positive"),
            ("0tok", "is not positive"),
            ("101%", "is more than the whole pool"),
            ("2.5", "is a fraction of a row"),
        ]
    ),
    *(
        Case(f"budget={text}", (f"the budget {text!r}", "is not a number"), budget=f"--budget={text}")
        for text in ("nan", "inf", "ten", "1,5%", "10rows", "1e", "%")
    ),
    Case("budget-beyond-the-pool", ("the budget is 61 rows", "the pool has 60", "lower"), budget="-b 61"),
    Case("budget-beyond-everything", ("too large", "write rows"), budget="-b 99999999999999999999"),
    Case("budget-beyond-all-tokens", ("the budget is 99999tok", "the pool has", "lower"), budget="-b 99999tok"),
    Case("budget-of-one-token", ("the budget is 1 token", "raise the budget"), budget="-b 1tok"),
    Case(
        "budget-that-copies-cannot-serve",
        ("budget 20", "without repeating a row", "4 distinct rows", "lower the budget"),
        make_duplicates,
        pool="copies.jsonl",
        budget="-b 20",
    ),
    option_case("max-per-source", "--max-per-source 1", "--max-per-source 1", "3 sources allows 3 rows", "to 4"),
    option_case("min-per-source", "--min-per-source 5", "--min-per-source 5", "takes 15 rows", "to 3"),
    option_case("min-above-max", "--min-per-source 3 --max-per-source 2", "--min-per-source 3 is above"),
    option_case("max-per-source=0", "--max-per-source 0", "--max-per-source 0 is not a positive limit", "20%"),
    option_case("max-per-source=x", "--max-per-source few", "--max-per-source few is not a positive limit", "20%"),
    option_case("max-per-source=5tok", "--max-per-source 5tok", "--max-per-source 5tok is in tokens", "write rows"),
    option_case("max-per-source=1%", "--max-per-source 1%", "less than one row", "raise it"),
]

OPTIONS = [
    Case(
        "repeated-id",
        ("rows 4 and 5", "the id 'x'", "--id-column"),
        file("ids.jsonl", as_lines([{"text": f"t{k}", "id": "x" if k in (4, 5) else k} for k in range(20)])),
        pool="ids.jsonl",
        more="--id-column id",
    ),
    Case(
        "empty-id",
        ("row 3", "empty id", "--id-column"),
        file("ids.jsonl", as_lines([{"text": f"t{k}", "id": "" if k == 3 else k} for k in range(20)])),
        pool="ids.jsonl",
        more="--id-column id",
    ),
    option_case("no-id-column", "--id-column uid", "pool.jsonl, line 1", "no column 'uid'", "text, source"),
    option_case(
        "no-source-column", "--source-column origin", "pool.jsonl, line 1", "no column 'origin'", "--source-co"
    ),
    option_case("preset", "--preset lesss", "--preset lesss does not exist", "tsds, "),
    option_case("alpha=1.5", "--alpha 1.5", "--alpha", "1.5", "less than or equal to 1"),
    option_case("alpha=-1", "--alpha=-1", "--alpha", "-1", "greater than or equal to 0"),
    option_case("alpha=nan", "--alpha nan", "--alpha", "nan"),
    option_case("alpha=x", "--alpha x", "--alpha", "'x'", "number"),
    option_case("alpha-and-breadth", "--alpha 0.5 --breadth 3", "--alpha and --breadth", "one of them"),
    option_case("scale=-1", "--scale=-1", "--scale", "-1", "greater than or equal to 0"),
    option_case("scale=nan", "--scale nan --alpha 0.5", "--scale", "nan"),
    option_case("scale=inf", "--scale inf --alpha 0.5", "--scale", "inf"),
    option_case("breadth=0", "--breadth 0", "--breadth", "0", "auto"),
    option_case("breadth=-3", "--breadth=-3", "--breadth", "-3", "auto"),
    option_case("breadth=x", "--breadth wide", "--breadth", "wide", "auto"),
    option_case("breadth=nan", "--breadth nan", "--breadth", "nan", "auto"),
    option_case("sigma=-1", "--sigma=-1", "--sigma", "-1", "auto"),
    option_case("sigma=x", "--sigma x", "--sigma", "x", "auto"),
    option_case("dim=0", "--dim 0", "--dim", "0", "greater than or equal to 1"),
    option_case("dim=x", "--dim x", "--dim", "'x'", "integer"),
    option_case("seed=x", "--seed x", "--seed", "'x'", "integer"),
    option_case("seed=-1", "--seed=-1", "--seed", "-1", "0"),
    option_case("draw-for-preset", "--preset nearest --draw systematic", "--draw systematic does not fit", "use top"),
    option_case("draw", "--draw lottery", "--draw", "lottery", "systematic"),
    option_case("backend", "--backend jax", "--backend", "jax", "numpy"),
    option_case("alpha-of-random", "--preset random --alpha 0.5", "--alpha does not apply to --preset random", "leave"),
    option_case("tokenizer-missing", "--tokenizer tok.json", "tokenizer tok.json", "No such file"),
    option_case(
        "tokenizer-corrupt",
        "--tokenizer tok.json",
        "tok.json is not a tokenizer.json",
        make=file("tok.json", b'{"model": 3}'),
    ),
    option_case("config-missing", "--config c.yaml", "c.yaml", "No such file"),
    option_case("config-no-yaml", "--config c.yaml", "c.yaml", "not valid YAML", make=file("c.yaml", b"a: [b\nc: }")),
    option_case("config-no-mapping", "--config c.yaml", "c.yaml", "mapping", make=file("c.yaml", b"- a\n")),
    option_case("config-binary", "--config c.yaml", "c.yaml", make=file("c.yaml", b"\xff\xfe\0\1")),
    option_case(
        "config-unknown-key",
        "--config c.yaml",
        "c.yaml",
        "--bugdet 5: there is no such option",
        "budget",
        make=file("c.yaml", b"bugdet: 5\n"),
    ),
    option_case("config-key-type", "--config c.yaml", "c.yaml", make=file("c.yaml", b"3: 5\n")),
    option_case("config-type", "--config c.yaml", "c.yaml", "--seed", "[1, 2]", make=file("c.yaml", b"seed: [1, 2]\n")),
]

OUTPUTS = [
    Case(
        "out-folder-missing", ("new/picked.jsonl", "the folder new does not exist", "create it"), out="new/picked.jsonl"
    ),
    Case(
        "out-is-a-folder", ("docs.jsonl: it is a folder", "name a file"), make_folder("docs.jsonl/a"), out="docs.jsonl"
    ),
    Case("out-suffix", ("picked.txt", "the suffix must be one of", ".parquet"), out="picked.txt"),
    Case("out-under-a-file", ("target.jsonl/x.jsonl",), out="target.jsonl/x.jsonl"),
    Case("out-in-proc", ("/proc/picked.jsonl",), out="/proc/picked.jsonl"),
    Case("out-name-too-long", ("File name too long",), out="x" * 248 + ".jsonl"),
    Case("run-folder-exists", ("picked.jsonl.run exists", "--force"), make_run_folder),
    Case("part-is-a-file", ("picked.jsonl.run.part",), file("picked.jsonl.run.part", b"mine")),
    Case(
        "out-is-the-pool",
        ("pool.jsonl: it is an input of this run", "name another file"),
        out="pool.jsonl",
        more="--force",
    ),
    Case("out-is-the-target", ("target.jsonl", "name another file"), out="./target.jsonl", more="--force"),
    Case(
        "out-is-the-config",
        ("c.json", "name another file"),
        file("c.json", b"{seed: 1}"),
        out="c.json",
        more="--force --config c.json",
    ),
    Case(
        "tables-of-other-types",
        ("b.parquet", "do not fit", ".jsonl"),
        make_two_tables,
        pool="a.parquet b.parquet",
        out="picked.parquet",
        budget="-b 100% -p random",
    ),
    Case("features-under-a-file", ("target.jsonl/x", "Not a directory"), more="--features target.jsonl/x"),
    Case(
        "features-of-npy",
        ("docs holds .npy files but no feature store", "another folder"),
        array("docs/a.npy", noise(3, 3)),
        more="--features docs",
    ),
]

MENDED_BY_FORCE = ("run-folder-exists", "features-of-npy")

CASES = [*POOLS, *VECTORS, *TARGETS, *BUDGETS, *OPTIONS, *OUTPUTS]
