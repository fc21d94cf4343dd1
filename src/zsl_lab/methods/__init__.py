"""The methods, one folder each; they know tensors, never files. See :mod:`zsl_lab.methods.base` for the contract."""
