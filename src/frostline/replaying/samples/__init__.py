"""Samples on their way into a network: read, tried, put together, and looked at again in every epoch."""
