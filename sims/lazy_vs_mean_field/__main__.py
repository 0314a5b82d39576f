"""python -m sims.lazy_vs_mean_field"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
