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


def test_numbers_of_names_become_domains_without_the_names_of_no_row():
    domains = Domains.coded(["web", "none", "code"], np.array([0, 2, 0, 0]))
    assert domains.names == ("code", "web")
    assert domains.codes.tolist() == [1, 0, 1, 1]
    same = Domains.of(["web", "code", "web", "web"])
    assert (domains.names, domains.digest) == (same.names, same.digest)
