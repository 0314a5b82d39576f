"""scripts/inspect report: one page that holds all that it shows, opens without a network, and takes
no text for markup.
"""

import base64
import html.parser
import io
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

import meanfield as mf
import sims
from sims.commands import inspect, report
from sims.sweeps import folders, plans, workers
from sims.sweeps.workers import Terms

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
X = np.linspace(-1, 1, 12)[:, None]


class Page(html.parser.HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [
            value for name, value in attributes if name in ("src", "href", "srcset", "data")
        ]

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def pictures(self):
        return [
            Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
            for source in self.sources
        ]


def record(path, activation="tanh", dim=1, **network):
    x = X if dim == 1 else np.hstack([X] * dim)
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation, **network), x, np.abs(X[:, 0])))
    start = mf.InitialLaw(dim=dim, b_std=1.0).sample(8, seed=0)
    mf.simulate(
        flow,
        start,
        mf.HEUN,
        dt=0.1,
        t_end=1.0,
        observers=[mf.Recorder(path, mf.evenly(4))],
        progress=False,
    )
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("<script>alert(1)</script>".replace("/", "_"))
    out = folder / "run.html"
    assert inspect.main(["report", str(record(folder / "run & <b>.h5")), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two exponents, two widths, three of four runs made."""
    data = {"name": "teacher_student", "options": {"n": 12, "dim": 2, "n_test": 10}}
    base = {"t_end": 0.5, "dt": 0.1, "frames": 3, "data": data}
    folder = tmp_path_factory.mktemp("sweeps") / "widths"
    made, _ = folders.create(
        plans.plan({"base": base, "axes": {"gamma": [0.5, 1.0], "m": [8, 16]}}), folder
    )
    workers.work(made, Terms())
    made.run(list(made.plan.runs)[3]).unlink()
    return folder


def test_the_page_of_a_run_has_figures_an_animation_verdicts_configuration_and_provenance(page):
    read = Page(page.read_text(encoding="utf-8"))
    kinds = [picture.format for picture in read.pictures]
    assert kinds.count("GIF") == 1 and kinds.count("PNG") >= 5
    assert read.pictures[kinds.index("GIF")].n_frames == 4  # one a recorded frame
    words = " ".join(read.texts)
    for text in (
        "Verdicts",
        "Is it the flow?",
        "Lazy or rich?",
        "Configuration",
        "gamma = 1",
        "Provenance",
        "numpy",
        "Summary",
        "energy_defect",
    ):
        assert text in words
    assert "Not drawn" not in words


def test_the_page_needs_nothing_from_outside_and_no_text_becomes_markup(page):
    text = page.read_text(encoding="utf-8")
    read = Page(text)
    assert all(source.startswith("data:image/") for source in read.sources)
    assert (
        not {"script", "link", "iframe", "object", "b"} & set(read.tags)
        and "@import" not in text
        and "url(" not in text
    )
    assert (
        "default-src 'none'" in text and "<script" not in text and "run &amp; &lt;b&gt;.h5" in text
    )


def test_the_page_of_a_sweep_lists_every_run_with_what_was_measured_and_draws_it(sweep, tmp_path):
    out = report.write(sweep, tmp_path / "widths.html")
    read = Page(out.read_text(encoding="utf-8"))
    data = sims.open_sweep(sweep)
    words = " ".join(read.texts)
    assert "3 of 4 runs are there" in words and "2 gamma" not in words
    for digest in folders.SweepFolder(sweep).plan.runs:
        assert digest in words
    moved = float(data.displacement.sel(gamma=0.5, m=16))
    assert f"{moved:.4g}" in read.texts and read.texts.count("unfinished") == 1
    kinds = [picture.format for picture in read.pictures]
    assert kinds.count("GIF") == 1 and kinds.count("PNG") >= 4 and "Not drawn" not in words


def test_a_file_that_is_there_is_kept_and_nothing_is_left_of_a_report_that_fails(tmp_path, capsys):
    path, out = record(tmp_path / "run.h5"), tmp_path / "run.html"
    out.write_text("mine")
    assert inspect.main(["report", str(path), "--out", str(out)]) == 5
    assert "choose another name for --out" in capsys.readouterr().err and out.read_text() == "mine"
    assert (
        inspect.main(["report", str(tmp_path / "no.h5"), "--out", str(tmp_path / "no.html")]) == 5
    )
    with pytest.raises(SystemExit):
        inspect.main(["report", str(path), "--out", str(tmp_path / "run.pdf")])
    assert sorted(item.name for item in tmp_path.iterdir()) == ["run.h5", "run.html"]


def test_what_cannot_be_drawn_is_said_with_its_reason_in_escaped_text():
    def draw():
        raise ValueError("<b> has no kernel")

    [note] = report._safely("the kernel", draw)
    assert note == '<p class="note">Not drawn, the kernel: &lt;b&gt; has no kernel</p>'


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_without_a_network_shows_the_page(page, tmp_path):
    """Dead proxy, so whatever is asked from outside fails; the pictures cover a third of the page,
    white paper the rest.
    """
    shot = tmp_path / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,3600",
             "--proxy-server=127.0.0.1:9", f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}"]  # fmt: skip
    subprocess.run([BROWSER, *flags, page.as_uri()], check=True, timeout=120, capture_output=True)
    pixels = np.asarray(Image.open(shot).convert("RGB"))
    assert pixels.shape == (3600, 1100, 3)
    # text and axes are grey: only pictures have colours
    coloured = np.ptp(pixels.astype(int), axis=2) > 60
    assert coloured[:1600].mean() > 0.002 and coloured.any(axis=1).sum() > 400
