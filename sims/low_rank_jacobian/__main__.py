"""python -m sims.low_rank_jacobian"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
