"""python -m sims.lazy_vs_mean_field"""

import sys

from . import main

sys.exit(main())
