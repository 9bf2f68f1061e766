"""The embedded home as real processes on real sockets and files, and bad days."""
