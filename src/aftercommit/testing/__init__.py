"""What users need to test their own code against AfterCommit without a server."""
