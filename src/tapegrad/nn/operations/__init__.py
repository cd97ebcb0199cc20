"""PyTorch's ``torch.nn.functional``: a file a family; functional.py has all of them under one name."""
