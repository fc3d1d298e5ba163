"""The Grafana dashboards as code: `python -m tools.grafana` writes deploy/grafana/dashboards."""
