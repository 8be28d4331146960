"""All dashboards."""

from deploy.grafana import activity, births, health, waiting

DASHBOARDS = (births.PAGE, waiting.PAGE, activity.PAGE, health.PAGE)
