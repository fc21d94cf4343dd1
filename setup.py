"""The list of packages; pyproject.toml, which has the rest, cannot say `find` and zsl_lab.conf."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("src"), "zsl_lab.conf"])
