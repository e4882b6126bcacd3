"""Other people's databases: one file per driver behind one seam (`port`), dialects as data."""
