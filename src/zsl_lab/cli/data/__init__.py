"""``python -m zsl_lab.data``: the data tool."""
