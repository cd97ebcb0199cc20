"""PyTorch's torch.autograd."""
