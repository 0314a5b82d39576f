"""python -m sims.run in one process: what it says of the run that its file of settings asks for."""

import meanfield as mf
from sims import run
from sims.lab import config

SETTINGS = """
m = 8
t_end = {t_end}
dt = 0.1
frames = 2
data = {{ options = {{ n = 12, dim = 2 }} }}
"""


def test_a_larger_t_end_extends_a_complete_run_and_says_so(tmp_path, capsys):
    """The same file again leaves it as it is; a smaller t_end is refused."""
    file = tmp_path / "experiment.toml"
    said = []
    for t_end in (0.5, 0.5, 1.0):
        file.write_text(SETTINGS.format(t_end=t_end))
        assert run.main([str(file)]) == 0
        said.append(capsys.readouterr().err)
    path = tmp_path / "experiment.h5"
    extended = f"{path} ended at t = 0.5 and is extended to t = 1\n"
    assert [extended in text for text in said] == [False, False, True]
    assert mf.Trajectory(path)[-1].t == 1.0
    file.write_text(SETTINGS.format(t_end=0.5))
    assert run.main([str(file)]) == config.USAGE
    assert "t_end, which is earlier (0.5, in the file 1)" in capsys.readouterr().err


def test_a_file_that_names_no_setting_is_said(tmp_path, capsys, monkeypatch):
    """Every value is then its default, or that of the preset it is read over."""
    file = tmp_path / "empty.toml"
    file.write_text("# t_end = 20\n")
    monkeypatch.setattr(run.experiment, "perform", lambda *_: mf.InitialLaw(dim=1).sample(2))
    assert run.main([str(file)]) == 0
    assert f"{file} names no setting: all keep their defaults\n" in capsys.readouterr().err
