"""The chart's values of what watches: scraping, alerts, dashboard."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from helm.values_part import Labels, Values


class ServiceMonitor(Values):
    enabled: bool
    """Whether Prometheus is told where to scrape; needs the Prometheus operator's CRDs."""
    interval: Annotated[str, StringConstraints(pattern=r"^([1-5]s|[1-9][0-9]{2}ms|[1-4][0-9]{3}ms)$")]
    """Between two scrapes, 100ms to 5s: a breach must be seen within ten seconds."""
    labels: Labels
    """Labels by which Prometheus chooses monitors."""


class PrometheusRule(Values):
    enabled: bool
    """Whether there are alerts; needs the Prometheus operator's CRDs."""
    labels: Labels
    """Labels by which Prometheus chooses rules."""


class Dashboard(Values):
    enabled: bool
    """Whether there is a dashboard."""
    labels: Labels
    """Labels by which Grafana's sidecar finds it."""


class Monitoring(Values):
    serviceMonitor: ServiceMonitor
    """What is scraped."""
    prometheusRule: PrometheusRule
    """Alerts."""
    dashboard: Dashboard
    """Grafana's dashboard."""
    namespaceSelector: Labels
    """Labels of the namespace whose Prometheus NetworkPolicies let in."""
