"""What runs on PyTorch: the only room that imports it, and only when something is computed."""
