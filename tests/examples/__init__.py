"""Every program under examples/, run as a user would run it, against real servers and a real node."""
