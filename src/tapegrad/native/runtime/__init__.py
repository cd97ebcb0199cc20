"""Native code, as Python that numba compiles; imported only when it has to be compiled anew."""
