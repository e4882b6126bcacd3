"""The command line: serving a node and operating one."""
