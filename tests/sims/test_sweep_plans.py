"""The TOML file of a sweep: axes, ranges, zipped groups, duplicates; what is refused, and with what
words; data checked once.
"""

import dataclasses

import pytest

import meanfield as mf
from sims.lab import config, experiment
from sims.lab.config import BadData, BadSettings, digest
from sims.sweeps import plans
from sims.sweeps.plans import plan

SMALL = {"m": 8, "data": {"name": "teacher_student", "options": {"n": 5, "dim": 2}}}


def axis(name, values, **base):
    """The values of one axis, as the settings keep them."""
    (found,) = plan({"base": base, "axes": {name: values}}).axes
    return [point[0] for point in found.points]


def test_a_file_becomes_the_product_of_its_axes(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(
        """
        [base]
        t_end = 2
        law.a = "normal"
        [axes]
        gamma = [0.5, 1]
        seed = { from = 0, to = 2, count = 3 }
        law.b_std = [0, 1]          # the same as "law.b_std"
        "data.options.seed" = [3, 4]
        """
    )
    found = plans.load(path)
    assert [axis.names for axis in found.axes] == [
        ("gamma",),
        ("seed",),
        ("law.b_std",),
        ("data.options.seed",),
    ]
    assert found.describe() == "24 runs: gamma 2 × seed 3 × law.b_std 2 × data.options.seed 2"
    for name, run in found.runs.items():
        assert (
            digest(run.config) == name and run.config.t_end == 2.0 and run.config.law.a == "normal"
        )
        at = found.at(name)
        assert (run.config.gamma, run.config.seed, run.config.law.b_std) == (
            at["gamma"],
            at["seed"],
            at["law.b_std"],
        )
        assert run.config.data.options == {"n": 100, "dim": 5, "seed": at["data.options.seed"]}
    assert len({run.index for run in found.runs.values()}) == 24


def test_zipped_settings_step_together_on_one_axis():
    found = plan({"axes": {"seed": [0, 1]}, "zipped": [{"alpha": [1, 10], "t_end": [20, 2]}]})
    assert found.axes[1].names == ("alpha", "t_end") and found.axes[1].points == (
        (1.0, 20.0),
        (10.0, 2.0),
    )
    assert {(run.config.alpha, run.config.t_end) for run in found.runs.values()} == {
        (1.0, 20.0),
        (10.0, 2.0),
    }
    assert found.describe() == "4 runs: seed 2 × alpha+t_end 2"


def test_settings_that_are_equal_are_one_run():
    """1 and 1.0, 0.0 and -0.0; true is a truth value and not 1."""
    found = plan(
        {
            "axes": {
                "gamma": [1, 1.0, 0.5, 1],
                "ridge": [0.0, -0.0],
                "data.options.n": [50, 50.0, 60],
            }
        }
    )
    assert [len(axis.points) for axis in found.axes] == [2, 1, 2] and len(found.runs) == 4
    assert axis("law.symmetric", [True, False]) == [True, False]


def test_the_digest_does_not_depend_on_how_a_sweep_says_it():
    a = plan({"base": {"gamma": 1, "t_end": 3}, "axes": {"seed": [0, 1]}})
    b = plan(
        {"base": {"t_end": 3.0}, "axes": {"seed": {"from": 0, "to": 1, "count": 2}, "gamma": [1.0]}}
    )
    assert set(a.runs) == set(b.runs)


def test_ranges_are_even_or_of_equal_ratios_and_whole_where_the_setting_is():
    assert axis("gamma", {"from": 0, "to": 0.5, "count": 6}) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert axis("alpha", {"from": 0.01, "to": 100, "count": 5, "log": True}) == [
        0.01,
        0.1,
        1.0,
        10.0,
        100.0,
    ]
    assert axis("gamma", {"from": 1, "to": 0.5, "count": 2}) == [1.0, 0.5]
    assert axis("seed", {"from": 0, "to": 4, "count": 5}) == [0, 1, 2, 3, 4]
    assert axis("m", {"from": 64, "to": 1024, "count": 5, "log": True}) == [64, 128, 256, 512, 1024]
    assert axis("m", {"from": 1, "to": 30, "count": 4, "log": True}) == [2, 4, 10, 30], (
        "even, for the start is symmetric"
    )
    assert axis("m", {"from": 1, "to": 5, "count": 5}, law={"symmetric": False}) == [1, 2, 3, 4, 5]
    assert axis("data.options.n", {"from": 10, "to": 1000, "count": 3, "log": True}) == [
        10,
        100,
        1000,
    ]
    assert axis("data.options.noise", {"from": 0, "to": 1, "count": 3}) == [0.0, 0.5, 1.0]


def test_a_data_set_of_another_name_starts_without_the_options_of_the_default_one():
    found = plan({"base": {"data": {"name": "kink"}}, "axes": {"seed": [0]}})
    assert found.base.data.options == {}
    found = plan({"base": {"data": {"options": {"n": 7}}}, "axes": {"seed": [0]}})
    assert found.base.data.options == {"n": 7}


def test_a_data_file_goes_by_its_full_name_for_workers_may_start_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("a,b,y\n1,2,3\n4,5,6\n7,8,10\n")
    monkeypatch.chdir(tmp_path)
    found = plan({"base": {"data": {"name": "mine.csv"}}, "axes": {"seed": [0]}})
    (run,) = found.runs.values()
    assert run.config.data.name == str(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"axis": {"m": [2]}}, "no table 'axis'. Did you mean 'axes'? A sweep has: base, axes, zipped."),
        ({"axes": {}}, "there are no axes: name what varies"),
        ({"base": {"gama": 1}, "axes": {"m": [2]}}, "base: no setting 'gama'. Did you mean 'gamma'?"),
        ({"axes": {"sed": [1]}}, "no setting 'sed'. Did you mean 'seed'?"),
        ({"axes": {"law.b_sdt": [1]}}, "no setting 'law.b_sdt'. Did you mean 'b_std'?"),
        ({"axes": {"gamma.x": [1]}}, "no setting 'gamma.x': 'gamma' is a value, not a table."),
        ({"axes": {"gamma": 0.5}}, "gamma must be a list or a range {from=, to=, count=}; got 0.5. One value goes into [base]."),
        ({"axes": {"gamma": []}}, "gamma is an empty list."),
        ({"axes": {"gamma": ["half"]}}, "gamma: Input should be a valid number; got 'half'. (axes: gamma = 'half')"),
        ({"axes": {"m": [3]}}, "m must be even, a symmetric start pairs neurons; got 3. Use 4."),
        ({"axes": {"m": [True]}}, "m: Input should be a valid integer; got True."),
        ({"axes": {"m": {"from": 1, "too": 2}}}, "m has no 'too'. Did you mean 'to'? A range is"),
        ({"axes": {"m": {"from": 1, "to": 2}}}, "the range of m needs from, to and count; count is missing."),
        ({"axes": {"alpha": {"from": 0, "to": 2, "count": 2, "log": True}}}, "a log range of alpha needs from > 0 and to > 0"),
        ({"axes": {"alpha": {"from": 1, "to": 2, "count": 1}}}, "the range of alpha needs numbers from and to, a count >= 2"),
        ({"zipped": [{"alpha": [1], "gamma": [1, 2]}]}, "alpha, gamma step together, so their lists must be equally long"),
        ({"zipped": {"alpha": [1]}}, "zipped axes are written [[zipped]]"),
        ({"axes": {"m": [2]}, "zipped": [{"m": [4]}]}, "m is an axis twice."),
        ({"axes": {"law": [{}], "law.b_std": [1]}}, "law.b_std is part of law; vary one of them."),
        ({"axes": {"seed": {"from": 0, "to": 1, "count": 10**9}}}, "that is 1000000000 runs; at most 100000 go into one sweep."),
        ({"axes": {"seed": list(range(400)), "gamma": list(range(400))}}, "that is 160000 runs"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(tables, words):
    with pytest.raises(BadSettings) as refused:
        plan(tables)
    assert words in str(refused.value)


def test_the_message_names_the_file(tmp_path):
    (tmp_path / "a.toml").write_text("[axes]\ngama = [1]")
    with pytest.raises(BadSettings, match=r"a\.toml: no setting 'gama'"):
        plans.load(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("[axes\n")
    with pytest.raises(BadSettings, match=r"b\.toml is not a TOML file"):
        plans.load(tmp_path / "b.toml")


@pytest.mark.parametrize(
    ("base", "axes", "kind", "words"),
    [
        (
            {"data": {"name": "digitz"}},
            {"seed": [0]},
            BadData,
            "unknown data set 'digitz'. Did you mean 'digits'?",
        ),
        (
            {"data": {"name": "techer"}},
            {"seed": [0]},
            BadData,
            "unknown data set 'techer'. Did you mean 'teacher_student'? Known",
        ),
        (SMALL, {"data.options.slope": [1]}, BadData, "teacher_student has no option 'slope'"),
        (SMALL, {"loss": ["squared", "hinge"]}, BadData, "loss 'hinge' wants labels -1 and +1"),
        (SMALL, {"activation": ["relu", "rela"]}, BadSettings, "Did you mean 'relu'?"),
        (SMALL, {"seed": [0, 2**32]}, ValueError, "seed must lie in 0 … 4294967295"),
    ],
)
def test_every_run_is_tried_before_anything_is_made(base, axes, kind, words):
    with pytest.raises(kind) as refused:
        plans.check(plan({"base": base, "axes": axes}))
    assert words in str(refused.value)


def test_data_are_made_once_for_each_distinct_set(monkeypatch):
    """Twelve runs, two data sets; widths, seeds, exponents and devices need no data of their own."""
    experiment._made.cache_clear()  # what other sweeps of this process have made is kept
    asked, get = [], mf.data.get
    monkeypatch.setattr(
        mf.data, "get", lambda name, **options: asked.append(options["n"]) or get(name, **options)
    )
    axes = {"gamma": [0.5, 1], "seed": [0, 1, 2], "data.options.n": [5, 6]}
    plans.check(plan({"base": {**SMALL, "backend": "cuda"}, "axes": axes}))
    assert sorted(asked) == [5, 6]


def test_every_setting_can_be_an_axis():
    values = config.to_dict(plans.Experiment())
    for name, value in values.items():
        assert len(plan({"axes": {name: [value]}}).runs) == 1


def test_what_was_made_of_the_file_is_said():
    """Values that are repeated, odd widths made even, and every axis with its values; notes are no
    part of the sweep.
    """
    tables = {"axes": {"gamma": [0.5, 0.5], "m": {"from": 31, "to": 93, "count": 3}}}
    found = plan(tables)
    assert found.values().splitlines() == [
        "  gamma = 0.5",
        "  m = 32, 62, 92",
        "  note: gamma: 1 of 2 values are repeated; each is made once",
        "  note: m: 31 became 32, 93 became 92: even, for a symmetric start pairs neurons",
    ]
    assert found == dataclasses.replace(found, notes=())
    odd = plan({**tables, "base": {"law": {"symmetric": False}}})
    assert "  m = 31, 62, 93" in odd.values() and len(odd.notes) == 1
    many = plan(
        {"axes": {"seed": list(range(30))}, "zipped": [{"alpha": [1, 10], "ridge": [0, 1e-3]}]}
    )
    assert (
        many.values()
        == "  seed = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, … 29\n  alpha+ridge = (1, 0), (10, 0.001)"
    )


def test_runs_that_differ_in_words_alone_are_counted(tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("a,b,y\n1,2,3\n4,5,6\n7,8,10\n")
    monkeypatch.chdir(tmp_path)
    found = plan(
        {"base": {"data": {"options": {}}}, "axes": {"data.name": ["mine.csv", "./mine.csv"]}}
    )
    assert len(found.runs) * (1 + len(found.notes)) == 2, "one run with a note, or one point"


def test_the_options_of_the_default_data_go_with_its_name_alone():
    for tables in (
        {"axes": {"data.name": ["teacher_student", "digits"]}},
        {
            "base": {"data": {"name": "digits"}},
            "axes": {"data.name": ["teacher_student", "digits"]},
        },
        {"axes": {"data": [{"name": "teacher_student"}, {"name": "digits"}]}},
    ):
        found = [run.config.data.options for run in plan(tables).runs.values()]
        assert found == [{"n": 100, "dim": 5}, {}]
    with pytest.raises(BadData, match="digits has no option 'n_test'"):
        plans.check(
            plan(
                {"axes": {"data.name": ["teacher_student", "digits"], "data.options.n_test": [10]}}
            )
        )
    given = plan(
        {"base": {"data": {"options": {"n": 9}}}, "axes": {"data.name": ["kink", "parity"]}}
    )
    assert [run.config.data.options for run in given.runs.values()] == [{"n": 9}] * 2


def test_a_sweep_for_gpus_is_made_on_a_machine_without_one_and_says_so(monkeypatch):
    def check(backend):
        raise ValueError(
            'backend="cuda" was asked for, but no usable NVIDIA GPU was found. Or use '
            'backend="cpu".'
        )

    found = plan({"base": SMALL, "axes": {"backend": ["cpu", "cuda"]}})
    monkeypatch.setattr(plans.backends, "check", check)
    assert plans.without_gpu(found).startswith(
        'backend="cuda" was asked for, but no usable NVIDIA GPU was found. The workers of'
    )
    assert plans.without_gpu(plan({"base": SMALL, "axes": {"backend": ["cpu", "auto"]}})) == ""
    monkeypatch.setattr(plans.backends, "check", lambda *arguments: "cuda")
    assert plans.without_gpu(found) == ""
