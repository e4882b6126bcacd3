"""The client, blocking and for asyncio: calls as values, their repeats, and the batches they gather into."""
