"""The barrier of protocol 5: markers in the initiator's database, the answers to checks, and the purge."""
