"""
Phase diagram
=============

Hello.
"""

# %%
# One solve

import ufm

ufm.thresholds([500] * 5 + [100] * 5, 0.02)
