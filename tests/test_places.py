import gc
import os
import re
import sys
from pathlib import PurePosixPath

import pytest

pytest.importorskip("moto")
pytest.importorskip("fsspec")

from hypothesis import given
from hypothesis import strategies as st
from s3_server import BUCKET, SECRETS, nth, slow

from tasksift import place_errors, place_systems, places
from tasksift.errors import InputError, UnfinishedError

FILES = ("a.jsonl", "b c%20é.jsonl", "d/a.jsonl", "d/e/f.parquet", "d-e/a.jsonl")


@pytest.fixture(params=["s3", "memory", "file"])
def folder(request, tmp_path):
    """An empty folder of every kind of storage."""
    if request.param == "s3":
        request.getfixturevalue("storage")
        return f"s3://{BUCKET}/folder"
    return f"memory://{tmp_path.name}" if request.param == "memory" else (tmp_path / "folder").as_uri()


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("s3://b/k", True), ("S3://b/k", True), ("hf://datasets/a/b", True), ("abfs://c@h/x", True),
        ("hf:openai/gsm8k:main", False), ("C://x", False), ("folder/a.jsonl", False), ("://x", False), ("", False),
        (None, False), (["s3://b/k"], False),
    ],
)  # fmt: skip
def test_a_url_has_a_scheme_and_two_slashes(name, yes):
    assert places.is_url(name) is yes


def test_a_file_url_is_a_path(tmp_path):
    path = tmp_path / "a b.jsonl"
    assert places.local_name(path.as_uri()) == str(path)
    assert places.local_name("file://localhost/a") == "/a"
    assert places.local_name("s3://b/k") == "s3://b/k"
    with pytest.raises(InputError, match="three slashes"):
        places.local_name("file://a/b")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKID:hidden@bucket/a.jsonl", "s3://AKID:hid/den@bucket/a.jsonl", "https://u:hidden@host:80/a.jsonl",
        "s3://bucket/a.jsonl?access_key=AKID&secret_key=hidden", "https://h/a.jsonl?x=1&X-Amz-Signature=hidden",
        "az://c/a.jsonl?sv=2020&sig=hidden", "gs://b/a.jsonl#access_token=hidden", "hf://datasets/a/b?token=hidden",
    ],
)  # fmt: skip
def test_credentials_in_a_url_are_refused_and_not_shown(url):
    with pytest.raises(InputError, match=r"^pool: .*environment variables") as caught:
        places.check_url(url, "pool")
    assert "hid" not in str(caught.value)
    assert "AKID:" not in str(caught.value)
    for use in (places.filesystem, places.find, places.read_bytes, places.info):
        with pytest.raises(InputError, match="credentials"):
            use(url)


@pytest.mark.parametrize(
    "url", ["s3://b/a@b:c?.jsonl", "http://host:8080/a.jsonl", "abfs://c@a.dfs.core.windows.net/k", "s3://b/x=1/y"]
)
def test_other_urls_hold_none(url):
    places.check_url(url, "pool")


def test_what_is_written_is_found_and_read(folder):
    assert places.find(folder) == []
    assert places.names(folder) == []
    for name in FILES:
        places.write_bytes(places.join(folder, name), name.encode())
    assert places.find(folder) == [places.join(folder, name) for name in sorted(FILES, key=lambda n: n.split("/"))]
    assert places.find(folder + "/") == places.find(folder)
    assert places.names(folder) == ["a.jsonl", "b c%20é.jsonl"]
    assert places.names(places.join(folder, "d")) == ["a.jsonl"]
    for name in FILES:
        url = places.join(folder, name)
        assert places.find(url) == [url]
        assert places.read_bytes(url) == name.encode()
        assert places.info(url).size == len(name.encode())
    with places.open_input(places.join(folder, FILES[1])) as file:
        file.seek(2)
        assert (file.read(5), file.size()) == ("c%20é"[:5].encode()[:5], len(FILES[1].encode()))


def test_what_is_not_there_says_so(folder):
    url = places.join(folder, "no.jsonl")
    assert places.read_bytes(url) is None
    assert places.look(url) is None
    assert places.find(url) == []
    places.delete(url)
    for use in (places.info, places.open_input):
        with pytest.raises(UnfinishedError, match=f"^{re.escape(url)} is not there; "):
            use(url)


def test_a_removed_file_is_gone_and_a_folder_is_no_file(folder):
    url = places.join(folder, "d/a.jsonl")
    places.write_bytes(url, b"1")
    assert places.look(places.join(folder, "d")) is None
    places.delete(url)
    assert places.look(url) is None


def test_another_content_changes_what_is_known(folder):
    url = places.join(folder, "a.jsonl")
    places.write_bytes(url, b"one")
    before = places.info(url)
    assert places.info(url) == before
    places.write_bytes(url, b"two")
    assert places.info(url) != before
    with pytest.raises(InputError, match="was changed"):
        places.check_same(url, before)


def test_the_same_object_put_back_is_the_same(storage):
    url = storage.put("a.jsonl", b"one")
    before = places.info(url)
    storage.delete("a.jsonl")
    storage.put("a.jsonl", b"one")
    assert places.info(url) == before


PATTERNS = ("*.jsonl", "*/a.jsonl", "**/a.jsonl", "d/*", "d/**", "?/*", "[a-c]*", "d*/?.jsonl", "*/*/*", "**", "x/*")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_globs_find_what_pathlib_finds(folder, pattern, tmp_path):
    for name in FILES:
        places.write_bytes(places.join(folder, name), b"1")
        (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / name).write_bytes(b"1")
    # Alone at the end, ** are folders in pathlib, and here the files in them.
    usual = pattern + "/*" if pattern.endswith("**") else pattern
    paths = sorted(path for path in (tmp_path / "local").glob(usual) if path.is_file())
    found = places.find(f"{folder}/{pattern}")
    assert found == [places.join(folder, path.relative_to(tmp_path / "local").as_posix()) for path in paths]


SEGMENT = st.text("ab", min_size=1, max_size=2)


@given(st.lists(SEGMENT, min_size=1, max_size=4), st.lists(st.sampled_from(["*", "a*", "?", "ab", "**"]), max_size=4))
def test_globs_match_as_their_expression_does(parts, pattern):
    words = {"*": "[^/]*", "a*": "a[^/]*", "?": "[^/]", "ab": "ab"}
    # Every part ends with a slash, so that any number of folders is any number of parts.
    slow_way = "".join("([^/]+/)*" if part == "**" else words[part] + "/" for part in pattern)
    assert places._matches(parts, pattern) == bool(re.fullmatch(slow_way, "/".join([*parts, ""])))
    if "**" not in pattern and pattern:
        assert places._matches(parts, pattern) == (
            len(parts) == len(pattern) and PurePosixPath(*parts).match("/".join(pattern))
        )


def test_reading_is_refused_when_the_file_changes(storage):
    url = storage.put("a.jsonl", b"one")
    seen = places.info(url)

    def read(act, expected=None):
        with places.opened(url, expected) as file:
            act(file.read())

    def fail(content):
        raise ValueError(f"a line that is cut: {content}")

    read(lambda content: None, seen)
    with pytest.raises(InputError, match="was changed"):
        read(lambda content: storage.put("a.jsonl", b"two"), seen)
    with pytest.raises(InputError, match="was changed"):
        read(lambda content: pytest.fail("it was opened"), seen)
    with pytest.raises(InputError, match="was changed"):
        read(lambda content: fail(storage.put("a.jsonl", b"six")))
    with pytest.raises(ValueError, match=r"^a line that is cut: b'six'$"):
        read(fail)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((403, "AccessDenied"), "access denied"),
        ((403, "SignatureDoesNotMatch"), "access denied"),
        ((400, "ExpiredToken"), "access denied"),
        ((418, "Teapot"), "the storage failed"),
    ],
)
def test_an_answer_of_the_storage_is_one_line(storage, answer, words):
    url = storage.put("a.jsonl", b"one")
    storage.fault = lambda method, key: answer if key == "a.jsonl" else None
    uses = (places.info, places.read_bytes, places.open_input, places.find, lambda url: places.write_bytes(url, b"1"))
    for use in uses:
        with pytest.raises(UnfinishedError, match=rf"^{re.escape(url)}: {words}") as caught:
            use(url)
        assert "\n" not in str(caught.value)
        assert not any(secret in str(caught.value) for secret in SECRETS.values())


def test_a_failing_request_is_made_three_times(storage):
    content = b"one" * 1000
    url = storage.put("a.jsonl", content)
    storage.asked.clear()
    storage.fault = nth(1, "GET", "a.jsonl", lambda: (503, "SlowDown"))
    assert places.read_bytes(url) == content
    assert storage.count("GET", "a.jsonl") == 2
    storage.asked.clear()
    storage.fault = lambda method, _: (503, "SlowDown") if method == "GET" else None
    with pytest.raises(UnfinishedError, match=r"run the (same )?command again"):
        places.read_bytes(url)
    assert storage.count("GET", "a.jsonl") == place_systems.ATTEMPTS == 3


@pytest.mark.parametrize(("method", "count"), [("POST", 1), ("PUT", 1), ("PUT", 2), ("POST", 2)])
def test_an_upload_that_fails_leaves_what_was_there(storage, method, count):
    for before in (None, b"before"):
        if before is not None:
            storage.put("a.bin", before)
        storage.fault = nth(count, method, "a.bin", lambda: (403, "AccessDenied"))
        with pytest.raises(UnfinishedError, match="access denied"):
            places.write_bytes(storage.url("a.bin"), bytes(11 * 2**20))
        gc.collect()
        storage.fault = None
        assert places.read_bytes(storage.url("a.bin")) == before


def test_no_bucket_is_told_from_no_object(storage):
    for use in (places.find, places.info, places.read_bytes, places.names, lambda url: places.write_bytes(url, b"1")):
        with pytest.raises(InputError, match=r"^s3://other/a: there is no such bucket"):
            use("s3://other/a")
    with pytest.raises(InputError, match="names no bucket"):
        places.find("s3://")


def test_an_endpoint_that_nobody_serves_is_named_with_the_url(monkeypatch, storage):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnfinishedError, match=r"^s3://b/a: the storage cannot be reached; check .* the endpoint"):
        places.info("s3://b/a")


def test_a_storage_that_does_not_answer_is_given_up(monkeypatch, storage):
    monkeypatch.setattr(place_systems, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(place_systems, "ATTEMPTS", 1)
    place_systems._s3.cache_clear()
    storage.put("a", b"1")
    storage.fault = slow("a", 2.5)
    with pytest.raises(UnfinishedError, match=r"^s3://.*/a: the storage did not answer in time"):
        places.info(storage.url("a"))
    place_systems._s3.cache_clear()


def test_the_endpoint_of_s3_alone_comes_first(monkeypatch, storage):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", storage.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_REGION")
    assert places.names(f"s3://{BUCKET}") == []


def test_an_object_that_is_removed_while_it_is_open_is_named(storage):
    url = storage.put("a.jsonl", b"one")
    with places.open_input(url) as file:
        storage.delete("a.jsonl")
        with pytest.raises(UnfinishedError, match=r"a.jsonl is not there"), places.reaching(url):
            file.read()


def test_a_missing_package_and_an_unknown_scheme_are_named(monkeypatch):
    with pytest.raises(InputError, match=r"^zzz://b/a: .*read are s3, gs, hf, file"):
        places.find("zzz://b/a")
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(InputError, match=r"^az://b/a: a package is missing: .*adlfs"):
        places.find("az://b/a")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InputError, match="pip install fsspec"):
        places.find("memory://b/a")


def test_messages_show_no_credentials(monkeypatch):
    monkeypatch.setenv("SOME_SECRET", "open sesame")
    assert place_errors.masked(OSError("AWS Error: open\n sesame, said twice: open sesame")) == (
        "AWS Error: ***, said twice: ***"
    )
    assert os.environ["SOME_SECRET"] not in place_errors.words("unknown", "s3://b/a", OSError("open sesame"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("google::cloud::Status(PERMISSION_DENIED: Anonymous caller)"), "denied"),
        (OSError("google::cloud::Status(UNAVAILABLE: Retry policy exhausted)"), "unreachable"),
        (OSError("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 28, Timeout was reached"), "late"),
        (TimeoutError(), "late"), (ConnectionResetError(), "unreachable"), (PermissionError(), "denied"),
        (OSError("Bucket 'a' not found"), "bucket"), (OSError("ZSTD decompress failed"), None), (EOFError("cut"), None),
    ],
)  # fmt: skip
def test_errors_are_told_apart(error, kind):
    assert place_errors.kind(error) == (kind if isinstance(error, OSError) else "unknown")
