"""Tables as pandas, R and spreadsheets write them: what becomes a name, a number, an input, and
what the errors say.
"""

import warnings

import numpy as np
import pytest

from meanfield import data


@pytest.fixture
def table(tmp_path):
    def make(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return make


@pytest.fixture(autouse=True)
def no_warning_but_those_expected():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


ROWS = "0.5,0.25,-1.5\n0.125,-0.5,2.5\n"


@pytest.mark.parametrize(
    "names",
    [
        "0,1,2",
        '"0","1","2"',
        " 0 , 1 , 2 ",
        "u,v,2019",
        "u,2019,y",
        "0,1,target",
        "2018,2019,y",
        "a,b,b",
        "\ufeff0,1,2",
        "#a,b,c",
    ],
)
def test_names_that_are_numbers_are_a_header_and_no_sample(table, names):
    made = data.load(table(f"{names}\n{ROWS}"))
    assert np.array_equal(made.x, [[0.5, 0.25], [0.125, -0.5]]) and np.array_equal(
        made.y, [-1.5, 2.5]
    )


def test_whole_numbers_under_0_1_2_are_samples_too(table):
    made = data.load(table("0,1,2\n5,3,1\n2,2,0\n"))
    assert np.array_equal(made.x, [[5, 3], [2, 2]]) and np.array_equal(made.y, [1, 0])
    wide = np.random.default_rng(0).integers(0, 17, (5, 64))
    text = "\n".join([",".join(map(str, range(64))), *(",".join(map(str, row)) for row in wide)])
    assert np.array_equal(data.load(table(text), standardise=False).y, wide[:, -1])


def test_a_column_asked_for_by_a_name_that_is_a_number_makes_the_first_row_names(table):
    made = data.load(table("5,7,9\n1,2,3\n4,5,6\n"), y="5")
    assert np.array_equal(made.y, [1, 4]) and made.origin["columns"] == ["7", "9"]


@pytest.mark.parametrize(
    "text",
    [
        "0,1,2\n3,4,5\n6,7,9\n",  # numpy.arange, row by row
        "0,1\n1,0\n2,1\n",  # a truth table, or pandas' names of two columns
        "0,1\n0.1,1.2\n0.2,1.5\n",  # a function on a grid from 0
        "2018,2019,2020\n0.5,0.25,-1.5\n0.125,-0.5,2.5\n",
        "1,2,3\n0.5,0.25,-1.5\n0.125,-0.5,2.5\n",
    ],
)
def test_a_first_row_that_may_be_names_or_a_sample_is_asked_about(table, text):
    path = table(text)
    with pytest.raises(
        ValueError, match="may be the names of the columns.*header=True or header=False"
    ):
        data.load(path)
    rows = text.count("\n")
    assert (data.load(path, header=False).n, data.load(path, header=True).n) == (rows, rows - 1)


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n7,8,10\n",
        "0,1,3\n0.5,2.5,1.5\n",
        "0.0,1.0,2.0\n0.5,2.5,1.5\n",
        "3,1,2\n1,1.5,0.5\n",
    ],
)
def test_a_first_row_of_other_numbers_is_a_sample(table, text):
    assert data.load(table(text)).n == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        ",u,v,y\n0,0.5,0.25,-1.5\n1,0.125,-0.5,2.5\n",  # pandas with its index
        ",0,1,2\n0,0.5,0.25,-1.5\n1,0.125,-0.5,2.5\n",  # and without names
        '"","u","v","y"\n"Mazda RX4",0.5,0.25,-1.5\n"Datsun",0.125,-0.5,2.5\n',  # R's row names
        # pandas' index, read and written again
        "Unnamed: 0,u,v,y\n0,0.5,0.25,-1.5\n1,0.125,-0.5,2.5\n",
    ],
)
def test_a_row_number_before_the_table_is_left_out_with_a_word(table, text):
    with pytest.warns(UserWarning, match="first column has no name.*left out"):
        made = data.load(table(text))
    assert np.array_equal(made.x, [[0.5, 0.25], [0.125, -0.5]]) and len(made.origin["columns"]) == 2


def test_a_nameless_first_column_is_an_input_where_it_is_asked_for(table):
    path = table(",u,y\n3,0.5,-1.5\n1,0.125,2.5\n")
    assert np.array_equal(data.load(path, x=[0, 1]).x, [[3, 0.5], [1, 0.125]])
    with pytest.raises(ValueError, match=r"only a first column without a name.*x=0"):
        data.load(table(",y\n0,1.5\n1,2.5\n"))


@pytest.mark.parametrize(
    "text",
    [
        "u,v,y,\n0.5,0.25,-1.5,\n0.125,-0.5,2.5,\n",
        "u,v,y\n0.5,0.25,-1.5,\n0.125,-0.5,2.5,\n",
        "u,v,y,\n" + ROWS,
        "\n\nu,v,y\n\n" + ROWS,
    ],
)
def test_a_delimiter_that_ends_the_rows_and_blank_lines_are_no_cells(table, text):
    made = data.load(table(text))
    assert np.array_equal(made.x, [[0.5, 0.25], [0.125, -0.5]]) and np.array_equal(
        made.y, [-1.5, 2.5]
    )


def test_a_tsv_file_has_tabs_by_its_name(table):
    made = data.load(table("u\tv\ty\n" + ROWS.replace(",", "\t"), "a.tsv"))
    assert np.array_equal(made.x, [[0.5, 0.25], [0.125, -0.5]])
    assert data.get(made.origin["maker"], **made.origin["arguments"]).sha256() == made.sha256()
    assert data.get(made.origin["arguments"]["path"]).sha256() == made.sha256()
    semicolons = data.load(table("u;v;y\n" + ROWS.replace(",", ";"), "a.tsv"), delimiter=";")
    assert (
        semicolons.sha256() == made.sha256() and semicolons.origin["arguments"]["delimiter"] == ";"
    )


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("u,v,y\n1,NA,2\n3,4,5\n", {}, r"line 2, column 1 \(v\): 'NA' is a missing value"),
        ("NA,1,2\n3,4,5\n", {}, "line 1, column 0.*'NA' is a missing value"),
        ("u,v,y\n1,?,2\n3,4,5\n", {}, r"'\?' is a missing value"),
        ("u;v;y\n0,5;1,5;2\n3;4;5\n", {"delimiter": ";"}, "'0,5' has a decimal comma: write 0.5"),
        ("0,5;1,5;2,5\n3,5;4,5;5,5\n", {"delimiter": ";"}, "line 1.*'0,5' has a decimal comma"),
        ("0,5;1,5;2,5\n3,5;4,5;5,5\n", {}, "delimiter=';'"),
        ("u;v;y\n1;2;3\n", {}, "has one column.*delimiter=';'"),
        ("u\tv\ty\n1\t2\t3\n", {}, r"has one column.*delimiter='\\t'"),
        ("u,v,y\n1,2,True\n3,4,False\n", {}, "'True' is no number: write 1 and 0"),
        ("1,2,True\n3,4,False\n", {}, "line 1, column 2.*'True' is no number"),
        ('u,v,y\n"1,234",2,3\n3,4,5\n', {}, "'1,234' has a comma: write 1.234 or 1234"),
        ('u,v,y\n"1,234,567.5",2,3\n3,4,5\n', {}, "without the marks between its thousands"),
        ("u,v,y\n5%,2,3\n3,4,5\n", {}, "'5%' is not a number: write it without units"),
        ("u,v,y\n1_000,2,3\n3,4,5\n", {}, "'1_000' is not a number"),
        (
            "5.1,3.5,setosa\n4.9,3.0,virginica\n",
            {},
            r"'setosa' is not a number \(text classes: number them first\)",
        ),
        (
            "u,v,y\na,0.5,0.25,1\nb,1.5,0.5,2\n",
            {},
            "names 3 columns and each row has 4.*row.names=FALSE",
        ),
        ("u,v,y\n1,2,3\n4,5\n", {}, "line 3: 2 cells, where the first line has 3"),
        (
            "u,v,u\n1,2,3\n3,4,5\n",
            {"x": "u", "y": "v"},
            "no single column 'u'.*Columns 0 and 2 have that name",
        ),
        ("u,v\n1,2\n", {"delimiter": ", "}, "delimiter must be one character"),
    ],
)
def test_a_cell_that_is_no_number_is_called_what_it_is(table, text, options, message):
    with pytest.raises(ValueError, match=message):
        data.load(table(text), **options)


def test_a_table_in_utf_16_and_a_header_that_is_no_truth_value_say_so(table):
    with pytest.raises(
        ValueError, match="not a text file of comma-separated values.*UTF-16.*saved as UTF-8"
    ):
        data.load(table("u,v\n1,2\n3,4\n", encoding="utf-16"))
    with pytest.raises(TypeError, match="header must be True, False or None; got 0"):
        data.load(table("u,v\n1,2\n3,4\n"), header=0)


def test_row_numbers_kept_twice_are_both_left_out(table):
    """pandas: read_csv and to_csv once more, each of which keeps the index as a column."""
    with pytest.warns(UserWarning, match="left out"):
        found = data.load(table(",Unnamed: 0,u,v,y\n0,0,.1,.2,3\n1,1,.3,.5,4\n"))
    assert found.origin["columns"] == ["u", "v"] and found.x.tolist() == [[0.1, 0.2], [0.3, 0.5]]


def test_a_target_without_a_name_is_said_to_be_a_row_number(table):
    """y=0 counts the nameless column: a user who means u finds row numbers as targets."""
    with pytest.warns(UserWarning, match="the target is the first column, which has no name"):
        assert data.load(table(",u,v,y\n0,.1,.2,3\n1,.3,.5,4\n"), y=0).y.tolist() == [0, 1]
    with pytest.warns(UserWarning, match="numbers count it"):
        assert data.load(table(",u,v,y\n0,.1,.2,3\n1,.3,.5,4\n"), y=1).y.tolist() == [0.1, 0.3]


@pytest.mark.parametrize("name", ["id", "Index", "row", "No."])
def test_an_input_that_counts_the_rows_under_such_a_name_is_spoken_of(table, name):
    with pytest.warns(UserWarning, match=f"{name!r}, counts the rows, and is taken as an input"):
        assert data.load(table(f"{name},u,y\n1,.1,3\n2,.3,4\n")).d == 2
    assert data.load(table(f"{name},u,y\n1,.1,3\n2,.3,4\n"), x=["u"]).d == 1
    assert data.load(table(f"{name},u,y\n2,.1,3\n1,.3,4\n")).d == 2
    assert data.load(table("t,u,y\n1,.1,3\n2,.3,4\n")).d == 2


@pytest.mark.parametrize("names", ["1,2,3", "2018,2019,2020", "400,410,420"])
def test_even_whole_numbers_over_decimal_ones_may_be_names_and_are_asked_about(table, names):
    """The labels of the last column are whole, so that not every cell below has a point."""
    path = table(names + "\n.1,.2,3\n.3,1e-1,4\n")
    with pytest.raises(ValueError, match="Say which by header=True or header=False"):
        data.load(path)
    assert data.load(path, header=True).n == 2 and data.load(path, header=False).n == 3


@pytest.mark.parametrize("cell", ["<NA>", "--", "n.a.", "NaT", ".."])
def test_further_words_for_a_missing_value(table, cell):
    with pytest.raises(ValueError, match="is a missing value"):
        data.load(table(f"u,v,y\n1,{cell},3\n2,3,4\n"))


@pytest.mark.parametrize("text", ["# made by hand\nu,v,y\n1,2,3\n", "u,v,y\n1,2,3\n# end\n"])
def test_a_comment_is_named_as_what_is_wrong(table, text):
    with pytest.raises(ValueError, match="Comments, lines that begin with '#', are not read"):
        data.load(table(text))


def test_quoted_cells_after_a_blank_and_cells_between_blanks_are_read(table):
    assert data.load(table('u, "v", y\n1, "2", 3\n2, 3, 4\n')).x.tolist() == [[1, 2], [2, 3]]
    with pytest.raises(ValueError, match="delimiter=' '"):
        data.load(table("u v y\n1 2 3\n2 3 4\n"))
    assert data.load(table("u v   y\n1 2   3\n2 3   4\n"), delimiter=" ").x.tolist() == [
        [1, 2],
        [2, 3],
    ]
