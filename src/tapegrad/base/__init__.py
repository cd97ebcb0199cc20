"""What every other package may use, and no tape: errors, dtypes, devices, locks, PyTorch's words for errors.

Start reading at `dtypes.py` (the dtypes, promotion, and how PyTorch names them), then `torch_messages.py`.
"""
