"""How much memory is said to be there: the least of the machine and of all groups above the process."""

from pathlib import Path

import pytest

from meanfield.processes import memory


def test_a_limit_above_the_own_group_counts(tmp_path, monkeypatch):
    """SLURM's job has the limit, its task says "max"."""
    files = {
        "/proc/meminfo": "MemTotal: 64000 kB\nMemAvailable: 32000 kB\n",
        "/proc/self/cgroup": "1:cpu:/x\n0::/job_1/step_0/task_0\n",
        "/sys/fs/cgroup/job_1/step_0/task_0/memory.max": "max\n",
        "/sys/fs/cgroup/job_1/memory.max": "1000000\n",
    }

    def read(self, encoding=None):
        if str(self) not in files:
            raise FileNotFoundError(str(self))
        return files[str(self)]

    monkeypatch.setattr(Path, "read_text", read)
    assert memory.available() == 1000000
    del files["/sys/fs/cgroup/job_1/memory.max"]
    assert memory.available() == 32000 * 1024
    del files["/proc/meminfo"]
    assert memory.available() is None


def test_what_is_too_much_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    memory.ask_memory(10**9, "a run", "Take fewer.")
    with pytest.raises(
        MemoryError, match=r"a run needs at least 2 GB; 1 GB are available\. Take fewer\."
    ):
        memory.ask_memory(2 * 10**9, "a run", "Take fewer.")
