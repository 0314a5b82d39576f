"""python -m sims.birth_death"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
