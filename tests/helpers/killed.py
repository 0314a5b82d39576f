"""A run in a process of its own that is killed after its second checkpoint, and gone on with."""

import os
import signal
import subprocess
import sys
import time

from meanfield.files.recording import unfinished


def once(script, path, *words):
    """Call `script path words…` twice: killed in the first, to its end in the second."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parts = path.with_name(f"{path.name}.parts")
    for kills in (1, 0):
        process = subprocess.Popen([sys.executable, script, str(path), *words], env=environment)
        begun = time.monotonic()
        while kills and process.poll() is None and time.monotonic() - begun < 60:
            if len(list(parts.glob("checkpoint-*"))) > 1:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.01)
        process.wait()
        assert unfinished(path) == bool(kills)
