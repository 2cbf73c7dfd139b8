"""What can be wrong with budgets, options and the place of the output."""

from __future__ import annotations

from bad_case import (
    Case,
    array,
    as_lines,
    file,
    make_duplicates,
    make_folder,
    make_run_folder,
    make_two_tables,
    noise,
    option_case,
)

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
