"""Benchmarks in the files of other programs: arrays, tables, folders of datasets."""
