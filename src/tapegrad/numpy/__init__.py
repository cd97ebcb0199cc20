"""NumPy's functions on Tensors, with NumPy's names and arguments; what ``np.sin(tensor)`` calls.

Start reading at `protocols.py`: NumPy asks there.
"""

from __future__ import annotations

__all__: list[str] = []
