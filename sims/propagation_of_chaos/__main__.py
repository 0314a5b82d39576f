"""python -m sims.propagation_of_chaos"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
