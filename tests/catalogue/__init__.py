"""What PyTorch's autograd tutorials show, a test a row.

Each file holds the rows of one tutorial; the id of the row is part of the test's name
(``test_001_12_...`` is row 12 of tutorial 001).  The expectations are those of torch 2.13, also
where a tutorial is wrong or older.  Start reading in ``helpers.py``, which chooses the library:
tapegrad, or with ``CATALOGUE_WITH=torch`` the real torch, which must pass every test as well.
"""
