import json

import pyarrow.parquet as pq
import pytest

pytest.importorskip("moto")

from s3_server import SECRETS, nth, slow

from tasksift.selection import open_run

FILES = ("a.jsonl", "more/b.jsonl", "more/c.jsonl")
DRAWN = ("--budget", "20", "--seed", "3", "--quiet")


@pytest.fixture
def storage(storage, folder, rows, lines):
    """A storage with a pool of three files and a target, and the same beside it on disk."""
    for k, name in enumerate(FILES):
        path = folder / "pool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines(rows(40, k)))
        storage.put(f"pool/{name}", path.read_bytes())
    storage.put("dev/target.jsonl", (folder / "target.jsonl").read_bytes())
    return storage


@pytest.fixture
def from_disk(storage, folder, tasksift):
    """Select from the files on disk."""
    done = tasksift("select", "pool", "--target", "target.jsonl", *DRAWN, "--out", "disk.jsonl")
    assert (done.code, done.err) == (0, "")
    return folder / "disk.jsonl"


def command(storage, *more):
    return (
        "select",
        storage.url("pool"),
        "--target",
        storage.url("dev/target.jsonl"),
        *DRAWN,
        "--out",
        "s3.jsonl",
        *more,
    )


def same(folder, storage):
    """Assert that what was selected from the storage is what was selected from disk, but for the paths."""
    assert (folder / "s3.jsonl").read_bytes() == (folder / "disk.jsonl").read_bytes()
    here, there = folder / "disk.jsonl.run", folder / "s3.jsonl.run"
    assert sorted(path.name for path in here.iterdir()) == sorted(path.name for path in there.iterdir())
    for name in ("selection.parquet", "plan.parquet", "targets.parquet", "transport.parquet"):
        one, other = (pq.read_table(run / name).to_pydict() for run in (here, there))
        if "file" in one:
            one["file"] = [storage.url(path) for path in one["file"]]
        assert one == other
    text = (here / "config.yaml").read_text().replace("- pool", f"- {storage.url('pool')}")
    assert text.replace("- target", f"- {storage.url('dev/target')}") == (there / "config.yaml").read_text()
    one, other = (json.loads((run / "manifest.json").read_bytes()) for run in (here, there))
    for part, prefix in (("pool", ""), ("target", "dev/")):
        for file in one[part]["files"]:
            file["path"] = storage.url(prefix + file["path"])
    one["output"]["file"] = "s3.jsonl"
    assert one == other


def everything(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_selection_from_s3_is_that_from_disk_and_holds_no_credentials(storage, folder, tasksift, from_disk):
    done = tasksift(*(arg for arg in command(storage) if arg != "--quiet"))
    assert done.code == 0
    same(folder, storage)
    written = everything(folder) + done.err.encode() + done.out.encode()
    assert not any(secret.encode() in written for secret in SECRETS.values())
    assert storage.endpoint.encode() not in written
    # Asked again, it is found done, and a run that is opened again still finds its rows.
    with_force = tasksift(*command(storage, "--force"))
    assert with_force.code == 0
    same(folder, storage)
    open_run(folder / "s3.jsonl.run").redraw(10).write(folder / "fewer.jsonl")
    assert len((folder / "fewer.jsonl").read_bytes().splitlines()) == 10


def test_a_slow_object_changes_nothing(storage, folder, tasksift, from_disk):
    storage.fault = slow("pool/more/b.jsonl", 0.1)
    assert tasksift(*command(storage)).code == 0
    same(folder, storage)


@pytest.mark.parametrize("passes", [0, 1])
def test_an_object_that_disappears_is_named_and_the_run_goes_on_once_it_is_back(
    storage, folder, tasksift, from_disk, passes
):
    key, first_pass = "pool/more/c.jsonl", folder / "s3.jsonl.run.part" / "rows.done"
    content = storage.get(key)

    def vanish(method, asked):
        # Once it was listed, or once it was read from its beginning to its end.
        if (method, asked) == ("GET", key) and first_pass.exists() == bool(passes):
            storage.delete(key)

    storage.fault = vanish
    done = tasksift(*command(storage))
    assert done.code == 2
    assert done.err.startswith(f"tasksift: {storage.url(key)} is not there; ")
    assert done.err.count("\n") == 1
    assert not (folder / "s3.jsonl").exists()
    assert not any(secret in done.err for secret in SECRETS.values())
    assert first_pass.exists() == bool(passes)
    marked = first_pass.stat().st_mtime_ns if passes else None
    storage.put(key, content)
    storage.fault = lambda method, asked: written.append(first_pass.stat().st_mtime_ns if passes else None)
    written = []
    assert tasksift(*command(storage)).code == 0
    assert set(written) == {marked}
    same(folder, storage)


def test_an_object_that_changes_in_the_middle_is_refused(storage, folder, tasksift):
    key = "pool/a.jsonl"
    content = storage.get(key)
    storage.fault = nth(3, "GET", key, lambda: storage.put(key, content[::-1]) and None)
    done = tasksift(*command(storage))
    assert done.code == 2
    assert done.err == (
        f"tasksift: {storage.url(key)} was changed after it was found; let it rest and run the command again\n"
    )
    assert not list(folder.glob("s3.jsonl*"))


def test_what_cannot_be_reached_or_written_is_one_line(storage, folder, tasksift, monkeypatch):
    target = ("--target", "target.jsonl", *DRAWN, "--out", "x.jsonl")
    storage.fault = lambda method, key: (403, "AccessDenied") if key == "pool/a.jsonl" else None
    cases = [
        (("select", storage.url("pool"), *target), "pool/a.jsonl: access denied"),
        (("select", "s3://other/pool", *target), "s3://other/pool: there is no such bucket"),
        (("select", storage.url("none"), *target), "none does not exist"),
        (("select", "s3://AKID:hidden@b/pool", *target), "URL with credentials in it"),
        (("select", "pool", *target[:-1], "s3://b/x.jsonl"), "cannot write s3://b/x.jsonl: it is a URL"),
        (("select", "pool", *target, "--tokenizer", "s3://b/t.json"), "--tokenizer s3://b/t.json is a URL"),
        (("compare", "pool", "--target", "target.jsonl", "--out", "s3://b/x"), "cannot write s3://b/x: it is a URL"),
        (
            ("lifelong", "pool", "--budget", "9", "--score-columns", "n", "--state", "s3://b/x", "--out", "x.jsonl"),
            "cannot write s3://b/x: it is a URL",
        ),
    ]
    for args, words in cases:
        done = tasksift(*args)
        assert (done.code, done.err.count("\n")) == (2, 1), done
        assert words in done.err
        assert "hidden" not in done.err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    done = tasksift("select", storage.url("pool"), *target)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the storage cannot be reached" in done.err
    assert sorted(path.name for path in folder.iterdir()) == ["pool", "pool.jsonl", "target.jsonl"]
