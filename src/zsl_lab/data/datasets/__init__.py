"""The datasets that ``dataset=`` can choose."""
