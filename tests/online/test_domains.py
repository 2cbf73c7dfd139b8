import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.online import Domains


def test_names_are_sorted_and_codes_name_each_rows_domain():
    domains = Domains.of(["web", "code", "web", "math"])
    assert domains.names == ("code", "math", "web")
    assert domains.codes.tolist() == [2, 0, 2, 1]
    assert domains.sizes.tolist() == [1, 1, 2]
    assert len(domains) == 4


def test_labels_may_be_numbers_or_an_array_and_odd_texts():
    assert Domains.of(np.array([3, 1, 3])).names == ("1", "3")
    assert Domains.of([True, False]).names == ("False", "True")
    assert Domains.of(["", "\ud800", "a\0b"]).sizes.tolist() == [1, 1, 1]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_row_without_a_domain_is_named(missing):
    with pytest.raises(InputError, match="row 2 has no domain"):
        Domains.of(["a", "b", missing])


def test_the_name_of_a_column_is_no_column():
    with pytest.raises(InputError, match=r"give a column, such as dataset\['source'\]"):
        Domains.of("source")


def test_no_rows_are_no_domains():
    with pytest.raises(InputError, match="there is no row"):
        Domains.of([])


def test_the_digest_tells_names_and_rows_apart():
    digests = {Domains.of(labels).digest for labels in (["a", "b"], ["b", "a"], ["a", "c"], ["a", "b", "b"])}
    assert len(digests) == 4
    assert Domains.of(["a", "b"]).digest == Domains.of(iter("ab")).digest


@pytest.mark.parametrize(
    ("names", "codes"),
    [(("a",), [[0]]), (("a",), [0.0]), (("a", "a"), [0, 1]), (("a",), [0, 1]), (("a",), [-1])],
)
def test_domains_made_by_hand_are_checked(names, codes):
    with pytest.raises(InputError, match="domains"):
        Domains(names, np.array(codes))


def test_numbers_of_names_become_domains_without_the_names_of_no_row():
    domains = Domains.coded(["web", "none", "code"], np.array([0, 2, 0, 0]))
    assert domains.names == ("code", "web")
    assert domains.codes.tolist() == [1, 0, 1, 1]
    same = Domains.of(["web", "code", "web", "web"])
    assert (domains.names, domains.digest) == (same.names, same.digest)


@pytest.mark.parametrize("labels", [5, None, b"ab", {"a": 3}])
def test_what_names_no_domain_for_each_row_is_refused(labels):
    with pytest.raises(InputError, match="name none for each row; give a column"):
        Domains.of(labels)


def test_missing_values_of_any_library_are_no_domain():
    for labels in ([np.float32("nan")], np.array(["NaT"], "M8[D]"), [float("nan")], np.array([np.nan])):
        with pytest.raises(InputError, match="row 0 has no domain"):
            Domains.of(labels)
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    for labels in (pandas.array(["a", None], dtype="string"), pandas.Series([1, None], dtype="Int64")):
        with pytest.raises(InputError, match="row 1 has no domain"):
            Domains.of(labels)
    with pytest.raises(InputError, match="row 1 has no domain"):
        Domains.of(arrow.array(["a", None]))


def test_columns_of_other_libraries_name_what_they_hold():
    assert Domains.of(np.array([2, 1])).names == ("1", "2")
    assert Domains.of([np.int64(2), np.str_("a")]).names == ("2", "a")
    torch = pytest.importorskip("torch")
    assert Domains.of(torch.tensor([2, 1])).names == ("1", "2")
