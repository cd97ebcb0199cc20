"""A mark for tests of the fast paths themselves, which have nothing to look at where these are refused."""

from __future__ import annotations

import pytest

from tapegrad.base.fast_paths import REFUSED

fast_paths = pytest.mark.skipif(REFUSED, reason="TAPEGRAD_FAST_PATHS=0: there are no fast paths")
