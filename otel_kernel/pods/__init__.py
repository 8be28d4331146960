"""Whose cgroup is this? Identity of pods and containers. What belongs to a birth is decided in births."""
