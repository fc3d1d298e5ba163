"""Generated requests against an API, good and bad ones, judged by its own OpenAPI document (Schemathesis)."""
