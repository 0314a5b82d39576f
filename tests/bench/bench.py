"""Times one gradient-descent step, both layers and biases, ours and the peers' in one run.

The share is that of the processor's multiply-adds, measured on the spot; operations are the kernels' own, elementary functions
not counted. Memory is what one of our steps adds at its peak to what the flow holds.

Absolute times are not stable from run to run; ratios within one are, to about 1.3×. So contenders take turns, round after round,
and the medians are compared: once with the best plain peer, once with the best of those written in blocks or fused by an expert.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from dataclasses import asdict, dataclass
from pathlib import Path

SLOWS_BLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # where preset, NumPy's matrix product runs at half speed and flatters us
QUICK = 3e6  # m·n of the largest case of --quick
SIZES = [
    (1e3, 100, 2),
    (1e4, 100, 2),
    (1e5, 256, 2),
    (1e6, 64, 2),
    (1e4, 1000, 10),
    (1e5, 1000, 10),
    (1e4, 1000, 64),
    (1e4, 1000, 784),
]


@dataclass(frozen=True)
class Case:
    """m neurons, n samples, d inputs."""

    activation: str
    m: int
    n: int
    d: int
    dtype: str

    @property
    def name(self) -> str:
        return f"{self.activation}-d{self.d}-n{self.n}-m{self.m:.0e}-{self.dtype}".replace("e+0", "e")

    @property
    def keeps_z(self) -> bool:
        """Whether z of the forward pass is kept for the pull-back: by the blocked kernels, where it fits."""
        from meanfield.backends.cpu import FUSED_UP_TO

        return self.d > FUSED_UP_TO

    @property
    def operations(self) -> float:
        """Of one step: for a pair (neuron, sample) 2 (d + 1) forward; backward z again where it is not kept, and the sums."""
        again = 0 if self.keeps_z else 2 * (self.d + 1)
        return float(self.m) * self.n * (2 * (self.d + 1) + again + 2 * self.d + (0 if self.activation == "relu" else 2))

    @property
    def goals(self) -> tuple[float | None, float | None]:
        """The ratios asked for against the best plain and the best expert peer."""
        relu = self.activation == "relu"
        if self.dtype == "float64":
            return ((8.0 if relu else 1.3) if self.d == 2 and self.activation in ("relu", "tanh") else None), None
        if self.d == 2:
            return (None, None) if self.m < 1e5 else (20.0, 10.0) if relu else (5.0, None)
        return {10: 4.0 if relu else 2.0, 64: 1.4, 784: 1.1}[self.d], None


def cases() -> list[Case]:
    return [
        Case(activation, int(m), n, d, dtype)
        for m, n, d in SIZES
        for activation in (("relu", "tanh", "erf", "gelu", "sigmoid") if d == 2 and m == 1e5 else ("relu", "tanh"))
        for dtype in ("float32", "float64")
        if not (dtype == "float64" and (m * n > 5e7 or activation not in ("relu", "tanh")))
    ]


def chosen(patterns: list[str], quick: bool) -> list[Case]:
    """Cases whose name matches one of the patterns (all without patterns), the small ones for quick."""
    found = [
        case
        for case in cases()
        if (not quick or case.m * case.n <= QUICK) and (not patterns or any(fnmatch.fnmatch(case.name, p) for p in patterns))
    ]
    if not found:
        raise SystemExit(f"no case matches {' '.join(patterns)}; see --list for their names.")
    return found


class Ours:
    """meanfield: explicit Euler steps of the flow, θ staying on its device."""

    name, expert = "ours", False

    def __init__(self, theta, x, y, activation, dt, backend="cpu"):
        import meanfield as mf

        flow = mf.GradientFlow(mf.EmpiricalRisk(mf.Network(activation), x, y), backend=backend, dtype=x.dtype.name)
        self.method, self.field, self.dt = mf.EULER, flow.on_device(mf.State(theta)), dt
        self.position = self.field.backend.upload(theta)

    def step(self, count=1):
        for _ in range(count):
            self.position = self.method.step(self.field, self.position, self.field.velocity(self.position), self.dt).theta

    def theta(self):
        return self.field.backend.download(self.position)


def start(m: int, n: int, d: int, dtype: str) -> tuple:
    """(theta, x, y) at random, ⟨w, x⟩ of order one."""
    import numpy as np

    rng = np.random.default_rng(0)
    theta = rng.normal(size=(m, d + 2)).astype(dtype)
    theta[:, 1:-1] /= d**0.5
    x = rng.normal(size=(n, d)).astype(dtype)
    return theta, x, np.sin(x[:, 0])


def peak_memory(dtype: str) -> dict:
    """The largest resident size of this process after three of our steps at m = 10⁶, n = 4096, d = 10."""
    contender = Ours(*start(10**6, 4096, 10, dtype), "relu", 0.01)
    begin = time.perf_counter()
    contender.step(3)
    seconds = (time.perf_counter() - begin) / 3
    return {"m": 10**6, "n": 4096, "d": 10, "dtype": dtype, "peak_bytes": peak_bytes(), "seconds_a_step": seconds}


def peak_bytes() -> int:
    status = Path("/proc/self/status")  # on Linux ru_maxrss would count what the parent process held before exec
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def contenders(case: Case, dt: float) -> tuple[dict, dict[str, str]]:
    """({name: contender}, {name: why it is absent}), all from the same start."""
    from .peers import PEERS

    theta, x, y = start(case.m, case.n, case.d, case.dtype)
    present, absent = {}, {}
    for contender in (Ours, *PEERS):
        name = contender.name
        try:
            present[name] = contender(theta, x, y, case.activation, dt)
            present[name].step(1)
        except (ImportError, NotImplementedError) as error:
            present.pop(name, None)
            absent[name] = str(error)
    return present, absent


def measure(present: dict, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds a step of every contender, once a round, each round in another order; a turn lasts about `seconds`."""
    counts = {}
    for name, contender in present.items():
        begin = time.perf_counter()
        contender.step(2)
        once = (time.perf_counter() - begin) / 2
        counts[name] = max(1, min(2000, round(seconds / once)))
    times: dict[str, list[float]] = {name: [] for name in present}
    order = list(present)
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            begin = time.perf_counter()
            present[name].step(counts[name])
            times[name].append((time.perf_counter() - begin) / counts[name])
    return times


def step_bytes(ours: Ours) -> int:
    """What one step allocates at its peak; θ, the samples and what is kept between steps are there before."""
    tracemalloc.start()
    try:
        ours.step(1)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        ours.step(1)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def run(case: Case, rounds: int, seconds: float, peak: float) -> dict:
    """One case: the medians in milliseconds, their spread, our ratios to the best peers, our share of `peak` GFLOP/s."""
    from .peers import PEERS, forget_compiled

    present, absent = contenders(case, dt=0.01)
    times = measure(present, rounds, seconds)
    median = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    expert = {peer.name for peer in PEERS if peer.expert}
    result = {
        "case": case.name,
        **asdict(case),
        "ms": median,
        "spread": {name: max(values) / min(values) for name, values in times.items()},
        "absent": absent,
        "goals": case.goals,
        "share_of_peak": 1e-6 * case.operations / median["ours"] / peak,
        "step_bytes": step_bytes(present["ours"]),
    }
    for kind, names in (("plain", set(median) - expert - {"ours"}), ("expert", set(median) & expert)):
        best = min(names, key=median.__getitem__, default=None)
        result[f"best_{kind}"] = best
        result[f"ratio_{kind}"] = median[best] / median["ours"] if best and "ours" in median else None
    present.clear()
    forget_compiled()
    gc.collect()
    return result


def machine() -> dict:
    """What the times depend on."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("numpy", "numba", "torch", "jax"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        **versions,
    }


def width(name: str) -> int:
    return max(9, len(name) + 2)


def header(names: list[str]) -> str:
    return (
        f"{'case, times in ms':34}"
        + "".join(f"{name:>{width(name)}}" for name in names)
        + f"{'plain':>8}{'goal':>6}{'expert':>8}{'goal':>6}{'share':>7}{'MB':>7}"
    )


def row(result: dict, names: list[str]) -> str:
    def ratio(kind: str, goal: float | None) -> str:
        value = result[f"ratio_{kind}"]
        return f"{'' if value is None else f'{value:.2f}×':>8}{'' if goal is None else f'{goal:g}×':>6}"

    more = f"{result['share_of_peak']:7.0%}{result['step_bytes'] / 1e6:7.1f}"
    times = "".join(f"{format(result['ms'][name], '.4g') if name in result['ms'] else 'absent':>{width(name)}}" for name in names)
    return f"{result['case']:34}{times}{ratio('plain', result['goals'][0])}{ratio('expert', result['goals'][1])}{more}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Then best peer / ours and the ratio asked for, for plain peers and for experts'; our share of the peak; memory.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the cases with m·n up to 3e6, three short rounds: a minute or two, rough"
    )
    parser.add_argument(
        "--cases", nargs="+", default=[], metavar="PATTERN", help='names with wildcards, for example "relu-d2-*" (see --list)'
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    parser.add_argument("--rounds", type=int, help="turns of every contender in a case (7; 3 for --quick)")
    parser.add_argument("--seconds", type=float, help="length of one turn (0.2; 0.05 for --quick)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every median, spread and ratio there as JSON")
    parser.add_argument(
        "--memory", choices=("float32", "float64"), help="instead: peak memory of our steps at m = 10⁶, n = 4096, d = 10, as JSON"
    )
    parser.add_argument(
        "--crossover", action="store_true", help="instead: our fused kernels against our blocked ones, d = 8 … 20"
    )
    parser.add_argument("--run", action="store_true", help="instead: whole runs, plain, with progress, series and recording")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda: instead, our CUDA backend and the peers on one GPU"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="with --device cuda: every line of it at toy sizes in CUDA's simulator, without a GPU",
    )
    options = parser.parse_args()
    if options.json and not options.json.parent.is_dir():
        parser.error(f"--json: the folder {options.json.parent} does not exist.")
    if options.dry_run and options.device != "cuda":
        parser.error("--dry-run rehearses --device cuda; the CPU's cases have --quick.")
    if options.device == "cuda":
        if options.dry_run:
            os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # read when numba is first imported
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX would take most of the GPU's memory for itself
        from . import device

        try:
            device.main(options.quick, options.cases, options.crossover, options.json)
        except ValueError as error:
            parser.error(str(error))
        return
    if options.list:
        print("\n".join(case.name for case in chosen(options.cases, options.quick)))
        return
    if any(name in os.environ for name in SLOWS_BLAS):  # read when NumPy is loaded, so begin again without them
        os.execve(sys.executable, sys.orig_argv, {name: value for name, value in os.environ.items() if name not in SLOWS_BLAS})
    if options.memory:
        print(json.dumps(peak_memory(options.memory)))
        return
    if options.crossover:
        from .crossover import table

        table()
        return
    if options.run:
        from . import whole_run

        whole_run.table(options.quick, options.rounds)
        return
    selected = chosen(options.cases, options.quick)

    from . import limits
    from .peers import PEERS

    names = ["ours", *(peer.name for peer in PEERS)]
    rounds, seconds = options.rounds or (3 if options.quick else 7), options.seconds or (0.05 if options.quick else 0.2)
    print(header(names), flush=True)
    results = []
    peaks = {dtype: limits.gigaflops(dtype) for dtype in sorted({case.dtype for case in selected})}
    for case in selected:
        results.append(run(case, rounds, seconds, peaks[case.dtype]))
        print(row(results[-1], names), flush=True)
    for name, why in {name: why for result in results for name, why in result["absent"].items()}.items():
        print(f"{name} absent: {why}", file=sys.stderr)
    if options.json:
        options.json.write_text(
            json.dumps(
                {"machine": machine(), "gigaflops": peaks, "rounds": rounds, "seconds": seconds, "results": results}, indent=1
            )
        )


if __name__ == "__main__":
    main()
