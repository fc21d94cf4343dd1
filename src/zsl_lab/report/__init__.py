"""Tables and a page over finished runs."""
