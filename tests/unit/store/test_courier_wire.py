"""What goes over the courier's socket is what was meant, and nothing else is taken for it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.errors import OffsetError, RefusedError, SchemaError, StoreError, StoreUnavailableError
from pipespan.model.rows import ROW_TYPES
from pipespan.store.base import Batch, StreamKey
from pipespan.store.courier.wire import (
    MAX_BODY_BYTES,
    Frame,
    WireError,
    batches_frame,
    batches_of,
    error_frame,
    error_of,
    read_frame,
)

# Lines of the COPY format: control characters that would break a line are escaped in it.
lines = st.lists(st.binary().map(lambda data: data.translate(None, b"\n\r") + b"\n"), max_size=4)
batches = st.builds(
    Batch,
    st.builds(StreamKey, st.text(), st.sampled_from(["keep", "bulk"])),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.dictionaries(st.sampled_from(ROW_TYPES), lines),
    st.dictionaries(st.text(), st.integers(1, 100)),
    lines,
)


def joined(batch: Batch) -> Batch:
    """Return the batch with its lines in one piece: how they are cut is nobody's matter."""
    lines = {row_type: [b"".join(pieces)] for row_type, pieces in batch.lines.items()}
    return replace(batch, lines=lines, spans=[b"".join(batch.spans)])


@given(st.lists(batches, max_size=3))
def test_batches_come_out_as_they_went_in(found):
    """Whatever their lines hold, on both sides of the socket."""
    said = read_frame(io.BytesIO(batches_frame(found).encoded()))
    assert said is not None
    assert list(map(joined, batches_of(said))) == list(map(joined, found))


@given(st.lists(batches, min_size=1, max_size=3), st.data())
def test_a_frame_that_is_cut_is_none(found, data):
    """Where the other side ends in the middle of a word, the words before it count and this one does not."""
    whole = [batches_frame([one]).encoded() for one in found]
    left = data.draw(st.integers(0, len(whole[-1]) - 1))
    file = io.BytesIO(b"".join(whole[:-1]) + whole[-1][:left])
    for one in found[:-1]:
        said = read_frame(file)
        assert said is not None
        assert list(map(joined, batches_of(said))) == [joined(one)]
    if left == 0:
        assert read_frame(file) is None
    else:
        with pytest.raises(WireError):
            read_frame(file)


@given(st.binary(max_size=200))
def test_noise_is_no_batch(noise):
    """Whoever says something else gets no batch, no other exception and no memory for what it claims to send."""
    try:
        said = read_frame(io.BytesIO(noise))
    except WireError:
        return
    if said is not None:
        with pytest.raises(WireError):
            batches_of(said)


def test_a_frame_has_a_bound():
    """What is larger than the other side takes is not sent."""
    with pytest.raises(WireError, match="too many"):
        Frame({}, bytes(MAX_BODY_BYTES + 1)).encoded()


@pytest.mark.parametrize(
    "error",
    [
        OffsetError("elsewhere", shipped_bytes=17),
        RefusedError("not that"),
        SchemaError("type `pipespan db migrate`"),
        StoreUnavailableError("away"),
    ],
)
def test_an_error_keeps_its_kind(error):
    """What the store says reaches the program as if it had asked itself."""
    told = error_of(error_frame(error).head)
    assert (type(told), str(told)) == (type(error), str(error))
    assert getattr(told, "shipped_bytes", None) == getattr(error, "shipped_bytes", None)


def test_an_unknown_error_says_come_back():
    """A kind that this version does not know is taken for a store that is away."""
    assert isinstance(error_of(error_frame(StoreError("odd")).head), StoreUnavailableError)
    assert error_of({}) is None
