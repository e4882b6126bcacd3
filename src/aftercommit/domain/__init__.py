"""What a message is and which changes of its status are allowed: pure, without input or output."""
