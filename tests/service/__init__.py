"""The use cases, tested on memory back ends with a manual clock."""
