"""The rules of deploy/prometheus, judged and unit-tested by promtool."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from demo.backends.backends import PROMETHEUS_DIRECTORY
from demo.backends.programs import Programs

pytestmark = pytest.mark.go


def promtool(programs: Programs, *arguments: str, directory: Path = PROMETHEUS_DIRECTORY) -> str:
    """Return what promtool says. Raises AssertionError with it when something is wrong."""
    ended = subprocess.run(
        [programs.promtool, *arguments], cwd=directory, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_checks(programs: Programs) -> None:
    """Configuration and rules are sound."""
    assert "SUCCESS" in promtool(programs, "check", "config", "prometheus.yml")
    promtool(programs, "check", "rules", "--lint-fatal", "rules.yml")


def test_unit_tests(programs: Programs) -> None:
    """Each alert fires when it should and is silent when it should be."""
    promtool(programs, "test", "rules", "rules_test.yml")


def test_every_alert_has_a_test(programs: Programs, tmp_path: Path) -> None:
    """No alert is untested, and the tests notice an alert that never fires."""
    rules = (PROMETHEUS_DIRECTORY / "rules.yml").read_text()
    tests = (PROMETHEUS_DIRECTORY / "rules_test.yml").read_text()
    alerts = {rule["alert"] for group in yaml.safe_load(rules)["groups"] for rule in group["rules"] if "alert" in rule}
    fired = {
        each["alertname"]
        for test in yaml.safe_load(tests)["tests"]
        for each in test["alert_rule_test"]
        if each["exp_alerts"]
    }
    assert alerts == fired
    (tmp_path / "rules_test.yml").write_text(tests)
    (tmp_path / "rules.yml").write_text(re.sub(r"> 0\.25", "> 0.95", rules))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool(programs, "test", "rules", "rules_test.yml", directory=tmp_path)
