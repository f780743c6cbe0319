"""Random problems for as long as one likes, every certificate recomputed independently.

Run from the root of a checkout: ``python -m tests.soak --minutes 60 --seed 0 --out summary.json``.
"""

import sys
from pathlib import Path

# The oracles are found as the tests find them.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
