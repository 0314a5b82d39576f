"""python -m sims.kernel_limits"""

import sys

from . import main

sys.exit(main())
