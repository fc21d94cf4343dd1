"""A page in the browser to try a trained method; the extra ``demo``."""
