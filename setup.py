"""Which packages there are; everything else stands in pyproject.toml, which cannot say both `find` and zsl_lab.conf."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("src"), "zsl_lab.conf"])
