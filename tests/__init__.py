"""The tests of AfterCommit."""
