"""python -m sims.kappa_against_width"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
