"""A private containerd in which real pods are born, without a cluster: for `make demo` and for the tests."""
