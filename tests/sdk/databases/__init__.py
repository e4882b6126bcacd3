"""Every driver behind the one seam, on real servers."""
