"""The data tool: what a user does with data before and after training."""
