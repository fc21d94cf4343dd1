"""From files to tensors: benchmarks, their readers, splits and data modules. Knows no method."""
