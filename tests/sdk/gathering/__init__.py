"""Natural batching."""
