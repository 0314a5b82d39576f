"""Several ranks that share the particles of one run have the bits of one process: TRUTHS.md, "determinism".

The ranks are threads here (helpers/ranks_in_memory.py); real processes are in
tests/processes/test_torchrun.py.
"""

import re
from math import exp

import numpy as np
import pytest
from pair_formulas import *  # noqa: F403
