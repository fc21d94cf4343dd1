"""Settings of a method for a dataset, found on validation classes."""
