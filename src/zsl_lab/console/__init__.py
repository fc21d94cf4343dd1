"""What is printed on a terminal, and how command lines are parsed."""
