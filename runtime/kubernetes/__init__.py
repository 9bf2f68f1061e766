"""The Kubernetes home's shell: credentials, HTTP, what objects mean, the binder's calls."""
