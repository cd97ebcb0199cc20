"""Platform, errors, dtypes, devices, locks, PyTorch's words for errors: for every package, without a tape.

Start reading at `dtypes.py` (the dtypes, promotion, and how PyTorch names them), then `torch_messages.py`.
"""
