"""From a request to an answer: the seam of two methods, and HTTP/1.1 behind it, blocking and for asyncio."""
