"""Linear algebra: rows that call NumPy's own loops over LAPACK, matrix by matrix.

`loops.py` makes the step of such a loop and finds out whether it failed; `lu.py` has linear systems
(`complex_systems.py` those of complex numbers),
`inverses.py` inverses and determinants, `definite.py` Cholesky's factor, `triangular.py` triangular systems,
`spectral.py` eigenvalues and singular values, `orthogonal.py` QR and pseudoinverses, `matrix_functions.py`
exponentials, logarithms and roots. Rules are the textbook's (Giles 2008, Murray 2016), in terms of ops, and
so right to every order.

A function with several results is a row without a derivative that computes all of them, and a row for each
result that copies it and has its derivative, in terms of the others' rows. So what is not asked for costs
nothing, and no rule multiplies zeros by infinities.
"""

from . import (
    complex_systems,
    definite,
    inverses,
    lu,
    matrix_functions,
    orthogonal,
    spectral,
    triangular,
)

__all__ = [
    "complex_systems",
    "definite",
    "inverses",
    "lu",
    "matrix_functions",
    "orthogonal",
    "spectral",
    "triangular",
]
