"""Write every dashboard: `python -m deploy.grafana`."""

from pathlib import Path

from deploy.grafana.dashboards import DASHBOARDS
from deploy.grafana.panels import as_json

HERE = Path(__file__).parent


def main() -> None:
    """Write the files."""
    for dashboard in DASHBOARDS:
        (HERE / f"{dashboard.uid}.json").write_text(as_json(dashboard))


if __name__ == "__main__":
    main()
