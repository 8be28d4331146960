"""What a cluster gets beside the agent: rules, dashboards."""
