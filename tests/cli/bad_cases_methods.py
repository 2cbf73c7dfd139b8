"""What can be wrong with the method that is asked for, its parameters, tasks, columns and filters."""

from __future__ import annotations

import json

import numpy as np
from bad_case import Case, array, as_lines, both, file, noise, option_case, text_rows, vectors_case

TASKS = both(
    file("law.jsonl", as_lines([{"text": "law of the sea", "kind": "x"}])),
    file("code.jsonl", as_lines([{"text": "code of the sea", "kind": "y"}, {"text": "and of the land", "kind": ""}])),
)

NUMBERS = as_lines([{"text": f"t{k}", "n": "high" if k == 7 else k, "kind": k % 2} for k in range(20)])


def model_case(name: str, more: str, *facts: str) -> Case:
    """A method of a model that is refused before any model is looked for."""
    return Case(name, facts, more=more, size="")


def weights_case(weights: str, *facts: str, more: str = "") -> Case:
    """Two tasks, of the files law.jsonl and code.jsonl."""
    return Case(
        f"task-weights={weights}{more}",
        (f"--task-weights {weights}", *facts, "each of the 2 tasks (law, code)"),
        TASKS,
        target="-t law.jsonl -t code.jsonl",
        more=f"--task-weights={weights} {more}",
    )


def columns_case(name: str, more: str, *facts: str) -> Case:
    """A pool with a column of numbers, one of which is none."""
    return Case(name, ("numbers.jsonl, line ", *facts), file("numbers.jsonl", NUMBERS), pool="numbers.jsonl", more=more)


METHODS = [
    option_case("set-without-a-value", "--set aggregate", "--set aggregate is not of the form NAME=VALUE", "folds=5"),
    option_case("set-without-a-name", "--set =mean", "--set =mean is not of the form NAME=VALUE", "folds=5"),
    option_case("set-unknown", "-s folds=5", "--set folds: --preset tsds has no such parameter", "there are alpha"),
    option_case("set-of-random", "-p random -s a=1", "--set a: --preset random has no such parameter", "are balanced"),
    option_case("set-word", "-p nearest -s aggregate=sum", "--set aggregate=sum: it should be max, mean"),
    option_case("set-number", "-s alpha=much", "--set alpha=much: it should be a number from 0 to 1"),
    option_case("set-range", "-s alpha=2", "--set alpha=2: it should be a number from 0 to 1"),
    option_case("set-both-knobs", "-s alpha=.5 --breadth 3", "--alpha and --breadth are two names of one knob"),
    Case("auto-of-tsds", ("--budget auto: --preset tsds does not estimate", "percent or tokens"), budget="-b auto"),
    Case(
        "auto-of-several-tasks",
        ("--budget auto: --preset tarot does not estimate", "percent or tokens"),
        more="-p tarot --model m --task-weights 1",
        budget="-b auto",
    ),
    option_case("gumbel-of-tsds", "--draw gumbel", "--draw gumbel does not fit --preset tsds", "systematic"),
    option_case("systematic-of-dsir", "-p dsir --draw systematic", "does not fit --preset dsir", "use gumbel or top"),
    option_case(
        "gumbel-of-several-tasks", "-p dsir --draw gumbel --task-weights 1", "--draw gumbel does not fit", "use top"
    ),
    # Models
    *(
        model_case(f"{name}-without-a-model", f"-p {name}", f"--representation {form} needs --model", "causal language")
        for name, form in [("less", "gradient"), ("rds+", "hidden"), ("dsdm", "gradient"), ("gradex", "gradient")]
    ),
    *(
        model_case(
            f"{name}-without-a-model", f"-p {name}", f"--preset {name} needs perplexity of each row", "--score-column"
        )
        for name in ("perplexity-lowest", "perplexity-highest")
    ),
    model_case("no-such-checkpoints", "-p less --checkpoints ./nowhere", "nowhere is not there", "tasksift tune"),
    model_case(
        "tarot-concat", "-p tarot --model m --combine concat", "--preset tarot needs gradients at their own", "mean"
    ),
    model_case(
        "dsdm-of-hidden", "-p dsdm -r hidden --model m", "--preset dsdm needs gradients of margins", "--representation"
    ),
    model_case("gradex-concat", "-p gradex --model m --combine concat", "--preset gradex needs gradients of margins"),
    model_case(
        "separate-halves", "-p dsdm --model m --store-dtype float16", "--combine separate needs lengths", "use float32"
    ),
    model_case("adam-of-dsdm", "-p dsdm --model m --optimizer adam", "--optimizer adam needs --checkpoints", "tune"),
    model_case("model-of-bm25", "-p bm25 --model m", "--model does not apply to --preset bm25", "leave it out"),
    model_case("model-beside-a-column", "-p perplexity-lowest --model m --score-column n", "--model does not apply"),
    model_case("no-column", "-p column", "--preset column needs --score-column", "a number of each row"),
    # What vectors alone cannot serve
    vectors_case(
        "bm25-of-vectors", array("v.npy", noise(40, 4)), "--preset bm25 reads texts", "only vectors", more="-p bm25"
    ),
    vectors_case("dsir-of-vectors", array("v.npy", noise(40, 4)), "--preset dsir reads texts", more="-p dsir"),
    vectors_case(
        "gradex-of-vectors",
        array("v.npy", noise(40, 4)),
        "--preset gradex needs gradients",
        "--vectors",
        more="-p gradex",
    ),
    *(
        vectors_case(
            f"{option}-of-vectors",
            array("v.npy", noise(40, 4)),
            f"--{option} needs rows",
            "name the pool's files",
            more=f"--{option} n",
        )
        for option in ("group-column", "score-column", "source-column", "text-template")
    ),
    vectors_case(
        "decontaminate-vectors", array("v.npy", noise(40, 4)), "--decontaminate compares", more="--decontaminate 9"
    ),
    vectors_case(
        "test-of-vectors",
        both(array("v.npy", noise(40, 4)), file("test.jsonl", as_lines(text_rows(2)))),
        "--decontaminate compares texts",
        more="--test test.jsonl",
    ),
    # Tasks
    weights_case("1", "weighs 1 of 2 tasks"),
    weights_case("1,2,3", "'3' does not fit"),
    weights_case("0,1", "'0' does not fit"),
    weights_case("1,nan", "'nan' does not fit"),
    weights_case("1,inf", "'inf' does not fit"),
    weights_case("1,-2", "'-2' does not fit"),
    weights_case("law=1,sea=2", "'sea=2' does not fit"),
    weights_case("law=1,law=2", "'law=2' does not fit"),
    weights_case("law=1", "weighs 1 of 2 tasks", more="-p nearest"),
    option_case("weights-of-random", "-p random --task-weights 1", "--task-weights does not apply to --preset random"),
    option_case("no-task-column", "--task-column kind", "target.jsonl, line 1", "no column 'kind'", "text, source"),
    # Columns
    columns_case(
        "no-group-column",
        "-p bws -r tfidf --score-column n --group-column origin",
        "no column 'origin'",
        "text, n, kind",
        "--group-column",
    ),
    columns_case(
        "no-score-column", "-p column --score-column origin", "no column 'origin'", "text, n, kind", "--score-column"
    ),
    columns_case(
        "score-column-of-text", "-p column --score-column n", "n is 'high', not a number", "line 8", "mend it"
    ),
    option_case("groups-of-nothing", "--group-column n", "--group-column does not apply to --preset tsds"),
    option_case("scores-of-nothing", "-p bm25 --score-column n", "--score-column does not apply to --preset bm25"),
    # Filters
    option_case("dedup=2", "--dedup 2", "--dedup", "2", "less than 1"),
    option_case("dedup=-1", "--dedup=-1", "--dedup", "-1", "greater than or equal to 0"),
    option_case("dedup=nan", "--dedup nan", "--dedup", "nan"),
    option_case("dedup=x", "--dedup some", "--dedup", "some", "number"),
    option_case("dedup-of-random", "-p random --dedup 0", "--dedup compares vectors, and --preset random has none"),
    option_case("decontaminate=0", "--decontaminate 0", "--decontaminate", "0", "greater than or equal to 1"),
    option_case("decontaminate=x", "--decontaminate all", "--decontaminate", "all", "integer"),
    option_case("no-such-test", "--test bench.jsonl", "--test: bench.jsonl does not exist"),
    option_case("empty-test", "--test bench.jsonl", "bench.jsonl is empty", make=file("bench.jsonl", b"")),
    option_case(
        "test-without-text",
        "--test bench.jsonl",
        "bench.jsonl, line 1",
        "no text is recognised",
        make=file("bench.jsonl", json.dumps({"a": 1, "b": 2}).encode()),
    ),
    *(
        Case(
            f"all-left-out-{preset}",
            ("every row of the pool is left out", "raise --decontaminate"),
            file("few.jsonl", as_lines(text_rows(12))),
            pool="few.jsonl",
            more=f"--test few.jsonl -p {preset}",
        )
        for preset in ("tsds", "random", "bm25")
    ),
    Case(
        "budget-beyond-what-is-left",
        ("the budget is 30 rows and 28 of the pool's 40 are left", "lower the budget"),
        both(file("more.jsonl", as_lines(text_rows(40))), file("few.jsonl", as_lines(text_rows(12)))),
        pool="more.jsonl",
        budget="-b 30",
        more="--test few.jsonl",
    ),
    Case(
        "tokens-beyond-what-is-left",
        ("lower the budget",),
        both(file("more.jsonl", as_lines(text_rows(40))), file("few.jsonl", as_lines(text_rows(20)))),
        pool="more.jsonl",
        budget="-b 200tok",
        more="--test few.jsonl -p nearest",
    ),
    Case(
        "copies-left-out",
        ("the budget is 10 rows and 3 of the pool's 40 are left", "lower the budget"),
        both(
            array("v.npy", np.eye(4, dtype=np.float32)[np.arange(40) % 3]),
            array("t.npy", noise(2, 4)),
        ),
        pool="",
        target="",
        more="--vectors v.npy --target-vectors t.npy --dedup 0 -p nearest",
        size="",
    ),
]
