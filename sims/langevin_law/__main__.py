"""python -m sims.langevin_law"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
