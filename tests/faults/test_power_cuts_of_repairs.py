"""A repair that is cut off before each of its calls that change the disk, by a kill and by a power
cut (helpers/disk_model.py), keeps the damaged file, and goes on when it is asked again.
"""

import numpy as np
import pytest
from disk_model import Disk, folders_left

import meanfield as mf
from sims.commands import inspect

X = np.linspace(-1, 1, 4)[:, None]


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """(bytes, content hash) of a run that was extended once; a bit of one frame is another."""
    path = tmp_path_factory.mktemp("damaged") / "run.h5"
    flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network("tanh"), X, np.abs(X[:, 0])))
    start, record = mf.InitialLaw(dim=1).sample(4, seed=0), mf.Recorder(path, mf.every(1))
    mf.simulate(flow, start, mf.EULER, dt=0.1, t_end=0.2, observers=[record], progress=False)
    mf.resume(path, t_end=0.4, progress=False)
    with mf.Trajectory(path) as run:
        right, frame = run.content_hash(), run[3].theta.tobytes()
    content = bytearray(path.read_bytes())
    content[content.index(frame)] ^= 1
    return bytes(content), right


@pytest.mark.parametrize("amount", [(9, 1), pytest.param((1, 4), marks=pytest.mark.slow)])
def test_a_repair_that_is_cut_off_keeps_the_damaged_file_and_goes_on(damaged, amount, tmp_path):
    before, right = damaged
    (tmp_path / "watched").mkdir()
    path = tmp_path / "watched" / "run.h5"
    path.write_bytes(before)
    disk = Disk(path.parent)
    with disk.watched():
        assert inspect.main(["repair", str(path)]) == 0
    stride, most = amount
    for _, folder in folders_left(disk.cuts[::stride], tmp_path / "cut", most):
        path = folder / "run.h5"
        kept = [path, folder / "run.h5.damaged"]
        assert before in [file.read_bytes() for file in kept if file.is_file()]
        assert inspect.main(["repair", str(path)]) == 0
        with mf.Trajectory(path) as run:
            assert run.content_hash() == right
        assert kept[1].read_bytes() == before
