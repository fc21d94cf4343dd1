"""Reads and writes benchmarks in formats of other programs: arrays, tables, folders of datasets."""
