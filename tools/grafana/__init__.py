"""The Grafana dashboards as code: `make generate` writes deploy/grafana/dashboards."""
