"""What only the kernel knows about Kubernetes pods, said in OpenTelemetry's own words."""

__version__ = "0.1.0"
