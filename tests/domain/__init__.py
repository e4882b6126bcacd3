"""Pure tests of the domain: no store, no clock, no loop."""
