"""python -m sims.phase_diagram"""

import sys

from . import main

sys.exit(main())
