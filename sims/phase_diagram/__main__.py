"""python -m sims.phase_diagram"""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
