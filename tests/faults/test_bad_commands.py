"""What users get wrong on the command line: the exit code, one line that names it, no traceback,
and nothing left behind.
"""

import os

import pytest

from sims import run
from sims.commands import inspect, sweep
from sims.lazy_vs_mean_field import main as lazy

BASE = '[base]\nt_end = 1.0\ndata = { name = "kink", options = { n = 8 } }\n'
FILES = {
    "broken.toml": "widths = [1,",
    "twice.toml": "seeds = 1\nseeds = 2",
    "typo.toml": "widhts = [16]",
    "type.toml": 'widths = "16"',
    "ragged.csv": "1,2,3\n4,5\n",
    "empty.csv": "",
    "word.csv": "1,2,3\nx,5,6\n",
    "file": "x",
    "axis.toml": BASE + "[axes]\ngama = [1]\n",
    "no-values.toml": BASE + "[axes]\ngamma = []\n",
    "word.toml": BASE + "[axes]\ngamma = ['x']\n",
    "nan.toml": BASE + "[axes]\ngamma = [nan]\n",
    "zero.toml": BASE + "[axes]\nm = [0]\n",
    "many.toml": BASE + "[axes]\nm = [1000000000000]\n",
    "seed.toml": BASE + "[axes]\nseed = [-1]\n",
    "runs.toml": BASE + "[axes]\nm = { from = 2, to = 1e18, count = 1000000000 }\n",
    "data.toml": BASE.replace("kink", "knik") + "[axes]\nm = [4]\n",
    "setting.toml": BASE + "foo = 1\n[axes]\nm = [4]\n",
    "table.toml": "t_end = 1\n",
}
RUNS = {  # files of settings for sims.run, alone in their kind
    "gama = 1": (2, "no setting 'gama'. Did you mean 'gamma'"),
    "m = 8\nm = 9": (2, "a setting is there twice"),
    "m = '8'": (2, "m: Input should be a valid integer; got '8'"),
    "m = true": (2, "m: Input should be a valid integer; got True"),
    "m = 7": (2, "m must be even, a symmetric start pairs neurons; got 7. Use 8"),
    "seed = 5000000000": (2, "seed must lie in 0 … 4294967295"),
    "gamma = nan": (2, "gamma: Input should be a finite number"),
    "gamma = 2020-01-01": (2, "gamma: Input should be a valid number"),
    "t_end = 0": (2, "t_end: Input should be greater than 0"),
    "dt = 'fast'": (2, "dt: Input should be a valid number or 'auto'; got 'fast'"),
    "dt = -1": (2, 'dt must be positive or "auto"'),
    "dt = 1e-300": (2, "is too small for t_end = 10"),
    "trainable = []": (2, "trainable must name what is trained"),
    "trainable = ['v']": (2, "trainable.0: Input should be 'a', 'w' or 'b'"),
    "activation = 'rellu'": (2, "Did you mean 'relu'"),
    "law = 3": (2, "law: Input should be a table"),
    "law.wstd = 1": (2, "no setting 'law.wstd'. Did you mean 'w_std'"),
    "backend = 'gpu'": (2, "backend: Input should be 'cpu', 'cuda' or 'auto'"),
    "loss = 'softmax'": (4, "wants integer classes"),
    "data = { name = 'techer' }": (4, "Did you mean 'teacher_student'"),
    "data = { name = 3 }": (2, "data.name: Input should be a valid string"),
    "data = { options = 3 }": (2, "data.options: Input should be a table"),
    "data = { options = { n = 0, dim = 2 } }": (4, "n must be an integer >= 1"),
    "data = { options = { nn = 9, dim = 2 } }": (4, "Did you mean 'n'"),
    "data = { name = 'digits', options = { corrupt = 2 } }": (4, "corrupt must be the share"),
    "data = { name = 'digits', options = { corrupt = nan } }": (4, "corrupt must be finite"),
    "data = { name = 'no.csv' }": (5, "no data file 'no.csv'"),
    "data = { name = 'word.csv' }": (4, "'x' is not a number"),
}
FILES |= {f"run{number}.toml": text for number, text in enumerate(RUNS)}
RUN = (
    ("", 2, "file"),
    ("none.toml", 5, "none.toml: No such file or directory"),
    (".", 5, "Is a directory"),
    ("broken.toml", 2, "not a TOML file"),
    ("axis.toml", 2, "scripts/sweep create"),
    ("table.toml --out none/a.h5", 5, "none: the folder for a.h5 does not exist"),
    ("table.toml --out table.toml", 2, "name another with --out"),
    ("table.toml --out file", 7, "not a readable HDF5 file"),
    ("table.toml --timeout 0", 2, "timeout must be a number of seconds > 0; got 0"),
    ("table.toml --timeout x", 2, "invalid float value: 'x'"),
    ("table.toml --checkpoint-seconds nan", 2, "checkpoint_seconds must be a number >= 0; got nan"),
    ("table.toml --sed 1", 2, "unrecognized arguments: --sed"),
    *((f"run{number}.toml", *found) for number, found in enumerate(RUNS.values())),
)
LAZY = (
    ("--gamas 1", 2, "Did you mean --gammas"),
    ("--gammas x", 2, "--gammas"),
    ("--gammas nan", 2, "gammas.0: Input should be a finite number"),
    ("--widths 0 2", 2, "widths.0"),
    ("--widths 16 1000000000000 --tasks teacher --out made", 2, "GB"),
    ("--seeds 0", 2, "seeds"),
    ("--activation rellu", 2, "Did you mean 'relu'"),
    ("--dtype float16", 2, "float16"),
    ("--tasks mnist", 2, "mnist"),
    ("--frames 0", 2, "frames"),
    ("--digits.n 0", 2, "digits"),
    ("--digits.t-end -1", 2, "greater than 0"),
    ("--config no.toml", 5, "no.toml"),
    ("--config broken.toml", 2, "broken.toml is not a TOML file"),
    ("--config twice.toml", 2, "twice.toml is not a TOML file"),
    ("--config typo.toml", 2, "Did you mean 'widths'"),
    ("--config type.toml", 2, "widths"),
    ("--tasks file", 2, "--file.path"),
    ("--tasks file --file.path no.csv", 5, "no data file 'no.csv'"),
    ("--tasks file --file.path ragged.csv", 4, "line 2: 2 cells"),
    ("--tasks file --file.path empty.csv", 4, "empty.csv is empty"),
    ("--tasks file --file.path word.csv", 4, "'x' is not a number"),
    ("--out file", 5, "file"),
    ("--redraw --out none", 2, "no runs"),
)
SWEEP = (
    ("", 2, "COMMAND"),
    ("creat", 2, "'create'"),
    ("create no.toml made", 5, "no.toml"),
    ("create broken.toml made", 2, "not a TOML file"),
    ("create axis.toml made", 2, "Did you mean 'gamma'"),
    ("create no-values.toml made", 2, "gamma is an empty list"),
    ("create word.toml made", 2, "gamma: Input should be a valid number"),
    ("create nan.toml made", 2, "gamma: Input should be a finite number"),
    ("create zero.toml made", 2, "m: Input should be greater"),
    ("create many.toml made", 2, "m: Input should be less"),
    ("create seed.toml made", 2, "seed: Input should be greater"),
    ("create runs.toml made", 2, "at most 100000"),
    ("create data.toml made", 4, "Did you mean 'kink'"),
    ("create setting.toml made", 2, "no setting 'foo'"),
    ("create table.toml made", 2, "A sweep has: base, axes"),
    ("work none", 5, "no sweep here"),
    ("status none", 5, "no sweep here"),
    ("collect none", 5, "no sweep here"),
)
INSPECT = (
    ("", 2, "FILE"),
    ("no.h5", 5, "no run at no.h5"),
    ("file", 7, "not a readable HDF5 file"),
    (".", 7, "a folder, not a run"),
    ("diagnose no.h5", 5, "no run at no.h5"),
    ("compare no.h5 no.h5", 5, "no run at no.h5"),
    ("report no.h5", 5, "no run at no.h5"),
    ("diagnose no.h5 --engine daks", 2, "'dask'"),
    ("diagnose no.h5 w2 --scheduler tcp://a:1", 2, "say --engine dask too"),
    ("diagnose no.h5 w2 --engine dask", 5, "no run at no.h5"),
    ("plot no.h5 --kind x", 2, "'paths'"),
    ("no.h5 --csv risk --hash", 2, "one after the other"),
)
CASES = [
    pytest.param(main, line.split(), code, words, id=f"{name} {line}")
    for name, main, cases in (
        ("run", run.main, RUN), ("lazy", lazy, LAZY), ("sweep", sweep.main, SWEEP), ("inspect", inspect.main, INSPECT)
    )
    for line, code, words in cases
]  # fmt: skip


@pytest.mark.sim
@pytest.mark.parametrize("main, arguments, code, words", CASES)
def test_a_bad_command_has_its_exit_code_and_one_line(
    main, arguments, code, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    try:
        found = main(arguments)
    except SystemExit as stop:
        found = stop.code
    said = " ".join(capsys.readouterr().err.split())
    assert found == code, said
    assert words in said
    assert "Traceback" not in said
    assert set(os.listdir()) == set(FILES)
