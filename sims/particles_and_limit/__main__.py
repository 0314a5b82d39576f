"""python -m sims.particles_and_limit"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
