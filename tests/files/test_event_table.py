"""The event table: its columns, and what selections keep."""

import numpy as np
import pytest

from meanfield.files.event_table import EventTable, joined
from meanfield.files.pieces import SeriesData
from meanfield.files.schema import EVENT_COLUMNS

ROWS = [
    (5, 0.5, 0, 3, 1, 1.0),
    (5, 0.5, 0, 4, 0, 0.0),
    (5, 0.5, 1, 4, -1, 1.0),
    (10, 1.0, 0, 1, 4, 1.0),
    (10, 1.0, 3, 2, 4, 0.5),
    (15, 1.5, 4, 2, 4, 2.5),
]
STEPS, TIMES = np.array([0, 5, 10, 15]), np.array([0.0, 0.5, 1.0, 1.5])
COUNTS = {
    "flip": [0, 2, 4, 0],
    "death": [0, 1, 0, 0],
    "revival": [0] * 4,
    "merge": [0, 0, 1, 0],
    "split": [0, 0, 0, 1],
}


@pytest.fixture
def table():
    """Four samplings; the third had four flips, one of them listed."""
    columns = {
        name: np.array(column, dtype)
        for (name, dtype), column in zip(
            EVENT_COLUMNS.items(), zip(*ROWS, strict=True), strict=True
        )
    }
    return EventTable(
        columns,
        {kind: SeriesData(STEPS, TIMES, np.array(count, float)) for kind, count in COUNTS.items()},
    )


def test_rows_and_columns(table):
    assert (
        len(table) == 6 and table[2] == (5, 0.5, "death", 4, -1, 1.0) and table[-1].kind == "split"
    )
    assert [event.step for event in table] == [5, 5, 5, 10, 10, 15]
    assert table.kinds.tolist() == ["flip", "flip", "death", "flip", "merge", "split"]
    assert (table.steps.dtype, table.times.dtype, table.neurons.dtype) == (
        np.int64,
        np.float64,
        np.int32,
    )
    assert list(table.to_dict()) == ["step", "time", "kind", "neuron", "other", "value"]
    rows = table.to_array()
    assert rows.dtype.names == tuple(table.to_dict()) and rows[4].item() == (
        10,
        1.0,
        "merge",
        2,
        4,
        0.5,
    )


def test_selections_can_be_chained(table):
    assert table.kind("flip").neurons.tolist() == [3, 4, 1]
    assert table.kind("merge", "split").steps.tolist() == [10, 15]
    assert table.between(0.5, 1.0).kind("flip").neuron(4).others.tolist() == [0]
    assert table.between(0.6, 0.9).counts() == dict.fromkeys(COUNTS, 0)


def test_a_neuron_is_on_either_side_of_a_merge_but_is_not_a_sample(table):
    """Row 10, flip of neuron 1 at sample 4, is not an event of neuron 4."""
    assert table.neuron(4).kinds.tolist() == ["flip", "death", "merge", "split"]
    assert len(table.neuron(77)) == 0


def test_counts_over_time_are_those_of_all_events_listed_or_not(table):
    assert table.over_time("flip").values.tolist() == [0, 2, 4, 0] and table.unlisted == 3
    assert table.counts() == {"flip": 6, "death": 1, "revival": 0, "merge": 1, "split": 1}
    assert table.kind("flip", "death").counts() == {
        "flip": 6,
        "death": 1,
        "revival": 0,
        "merge": 0,
        "split": 0,
    }
    assert table.kind("flip").unlisted == 3 and table.kind("death").unlisted == 0
    cut = table.between(1.0, 1.5)
    assert (
        cut.over_time("flip").steps.tolist() == [10, 15]
        and cut.unlisted == 3
        and cut.kind("merge").unlisted == 0
    )
    assert table.between(0.0, 0.9).unlisted == 0
    one = table.neuron(4)
    assert (
        one.over_time("flip").values.tolist() == [0, 1, 0, 0]
        and one.over_time("flip").times.tolist() == TIMES.tolist()
    )
    assert one.unlisted is None and one.counts() == {
        "flip": 1,
        "death": 1,
        "revival": 0,
        "merge": 1,
        "split": 1,
    }
    assert all(cut.counts()[kind] == cut.over_time(kind).values.sum() for kind in COUNTS)


def test_a_slice_is_a_table_of_its_rows(table):
    first = table[:3]
    assert isinstance(first, EventTable) and list(first) == [table[0], table[1], table[2]]
    assert (
        first.counts() == {"flip": 2, "death": 1, "revival": 0, "merge": 0, "split": 0}
        and first.unlisted is None
    )
    assert [event.kind for event in table[::-5]] == ["split", "flip"] and len(table[9:]) == 0
    assert table[np.int64(1)] == table[1]
    for wrong in ("flip", [0, 1], np.array([True] * 6), True, 1.0):
        with pytest.raises(
            TypeError, match="a row is asked for by an integer, rows by a slice; got .*to_array"
        ):
            table[wrong]


def test_a_printed_table_shows_its_first_rows(table):
    lines = str(table.neuron(4)).split("\n")
    assert lines[0] == repr(table.neuron(4)) and lines[1].split() == [
        "step",
        "time",
        "kind",
        "neuron",
        "other",
        "value",
    ]
    assert [line.split() for line in lines[2:4]] == [
        ["5", "0.5", "flip", "4", "0", "0"],
        ["5", "0.5", "death", "4", "-1", "1"],
    ]
    assert len(lines) == 6 and len({len(line) for line in lines[1:]}) == 1
    assert str(table.neuron(77)) == repr(table.neuron(77))
    many = EventTable({name: np.tile(column, 4) for name, column in table._columns.items()}, None)
    assert str(many).split("\n")[-1] == "… 14 more rows" and len(str(many).split("\n")) == 13


def test_a_table_says_what_it_holds_in_one_line(table):
    assert (
        repr(table)
        == "EventTable(6 flips, 1 death, 1 merge, 1 split; 6 of them listed; 4 samplings, t "
        "= 0 … 1.5)"
    )
    assert (
        repr(table.neuron(77)) == "EventTable(no events among the listed; 4 samplings, t = 0 … 1.5)"
    )
    empty = EventTable(joined([]), None)
    assert (
        "the run was not watched; add mf.Events()" in repr(empty)
        and len(empty.kind("flip")) == empty.unlisted == 0
    )
    with pytest.raises(ValueError, match="was not watched by mf.Events: there are no samplings"):
        empty.over_time("flip")


def test_questions_that_make_no_sense_raise(table):
    with pytest.raises(
        ValueError,
        match="no kind of event 'flips'. Did you mean 'flip'. Known: flip, death, revival, "
        "merge, split",
    ):
        table.kind("flips")
    with pytest.raises(ValueError, match="no kind of event 'birth'"):
        table.over_time("birth")
    for t0, t1 in ((2.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="needs t0 <= t1"):
            table.between(t0, t1)
    with pytest.raises(IndexError):
        table[6]
