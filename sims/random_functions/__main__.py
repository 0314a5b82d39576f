"""python -m sims.random_functions"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
