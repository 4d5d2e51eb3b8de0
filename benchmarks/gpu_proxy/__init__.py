"""What TorchInductor would launch and move on an H200, counted without any GPU (README.md beside this file)."""
