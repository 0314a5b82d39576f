"""python -m sims.both_limits"""

import sys

from . import main

sys.exit(main())
