"""The use cases: what happens between a prepared message and a settled one."""
