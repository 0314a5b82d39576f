"""python -m sims.scaling_exponents"""

import sys

from . import main

sys.exit(main())
