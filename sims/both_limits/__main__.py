"""python -m sims.both_limits"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
