"""One entry point a role. Each has ``serve(settings, stopping, health)``; ``workers.run`` runs them in a process."""
