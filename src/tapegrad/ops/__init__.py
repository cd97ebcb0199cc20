"""The op table: one row an op, a file a family.

`table` says what a row is. The families register their rows when they are imported, which
`tapegrad.ops.all_rows` does.
"""
