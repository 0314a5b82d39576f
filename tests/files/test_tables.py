"""Tables as text and as HTML."""

from meanfield.files.tables import html_table, text_table

ROWS = [("γ", "runs", ""), ("0.5", 12, ""), ("0.75", 3, "late")]


def test_columns_are_aligned_on_the_sides_asked_for_and_no_line_ends_in_spaces():
    assert text_table(ROWS).splitlines() == ["γ     runs", "0.5   12", "0.75  3     late"]
    assert text_table(ROWS, ">").splitlines() == ["   γ  runs", " 0.5    12", "0.75     3  late"]
    assert text_table(ROWS, "<>").splitlines() == ["γ     runs", "0.5     12", "0.75     3  late"]


def test_text_of_a_page_is_no_markup():
    page = html_table([("a<b", "<script>")], caption='"&"')
    assert "<script>" not in page and "&lt;script&gt;" in page and "&quot;&amp;&quot;" in page
