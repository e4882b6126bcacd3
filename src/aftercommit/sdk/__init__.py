"""What an initiator or a consumer installs: the client, the transaction, the outcome and the inbox."""
