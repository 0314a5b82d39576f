"""python -m sims.gaussian_process_view"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
