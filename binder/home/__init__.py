"""Homes: where commits become durable. The embedded one is the binder's own log."""
