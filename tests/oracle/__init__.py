"""kube-scheduler's own plugins against our rules, over the same manifests."""
