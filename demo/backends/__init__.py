"""The backends beside the agent: a real collector, Jaeger and Prometheus, built from Go modules and run on loopback."""
