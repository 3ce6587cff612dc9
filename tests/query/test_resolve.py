from __future__ import annotations

import pytest

from pipespan.errors import AmbiguousError, NotFoundError
from pipespan.query.resolve import by_id, resolve
from tests.query.samples import ListSource, experiment

A1 = "abcd1234-0000-4000-8000-000000000001"
A2 = "abcd5678-0000-4000-8000-000000000002"
B1 = "0123456789ab4cdef0123456789abcde"
B1_ID = "01234567-89ab-4cde-f012-3456789abcde"


def source() -> ListSource:
    return ListSource(
        [
            experiment(id=A1, name="train"),
            experiment(id=A2, name="train"),
            experiment(id=B1_ID, name="beef"),
            experiment(id="beef0000-0000-4000-8000-000000000004", name="other"),
        ]
    )


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("last", A1),
        (A2, A2),
        (A2.upper(), A2),
        ("train", A1),
        ("abcd5", A2),
        ("ABCD5678-0", A2),
        ("0123", B1_ID),
        (B1, B1_ID),
        ("0123456789ab", B1_ID),
        ("beef", B1_ID),
        ("beef0", "beef0000-0000-4000-8000-000000000004"),
    ],
)
def test_reference_means(reference: str, expected: str) -> None:
    """`last`, ids with or without hyphens, the newest run of a name, unique prefixes; a name wins over a prefix."""
    assert resolve(source(), reference).id == expected


def test_prefix_of_several_is_ambiguous() -> None:
    """The one line names the candidates."""
    with pytest.raises(AmbiguousError) as caught:
        resolve(source(), "abcd")
    assert A1 in str(caught.value)
    assert A2 in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_candidates_are_counted() -> None:
    """A line stays a line however many match."""
    many = ListSource([experiment(id=f"aaaa{number:04d}-0000-4000-8000-000000000000") for number in range(9)])
    with pytest.raises(AmbiguousError, match="and 4 more"):
        resolve(many, "aaaa")


@pytest.mark.parametrize("reference", ["nope", "abc", "", "ffff", "f" * 40, "last ", "%", "'; drop"])
def test_unknown_reference(reference: str) -> None:
    """What nothing answers to is not found; three digits of an id are too few."""
    with pytest.raises(NotFoundError):
        resolve(source(), reference)


def test_short_prefix_names_the_remedy() -> None:
    """Somebody who typed the start of an id is told to type more of it."""
    with pytest.raises(NotFoundError, match="at least 4 characters"):
        resolve(source(), "abc")


def test_close_names_are_offered() -> None:
    """A typo is answered with what may have been meant."""
    with pytest.raises(NotFoundError, match="did you mean 'train'"):
        resolve(source(), "trian")


def test_last_of_none() -> None:
    """An empty store says how to get an experiment."""
    with pytest.raises(NotFoundError, match="no experiments yet"):
        resolve(ListSource(), "last")


def test_by_id_takes_no_prefix() -> None:
    """Polling stays with the very experiment."""
    assert by_id(source(), A2).name == "train"
    with pytest.raises(NotFoundError):
        by_id(source(), "abcd5678")
