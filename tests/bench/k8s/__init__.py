"""The Kubernetes home next to raw binding, a null client and kube-scheduler. `make bench-k8s`."""
