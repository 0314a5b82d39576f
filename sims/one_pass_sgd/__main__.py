"""python -m sims.one_pass_sgd"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
