"""PyTorch's ``torch.nn.functional``: a file a family; nn/functional.py has all under one name."""
