"""python -m sims.approach_to_lazy"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
