"""What ``dataset=`` may be."""
