"""python -m sims.random_features"""

import sys

from . import main

sys.exit(main())
