"""The configuration tree, shipped as a package so that the command works from a wheel."""
