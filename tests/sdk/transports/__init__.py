"""HTTP on the client's side."""
