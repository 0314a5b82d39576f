"""python -m sims.kernel_regime"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
