"""What users see of the package before they run it: its types, its docstrings and the examples in them."""
