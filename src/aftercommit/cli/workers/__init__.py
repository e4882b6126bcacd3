"""`aftercommit serve --workers N`: a parent that supervises, and processes that share its listening socket."""
