"""One entry point a role: ``serve(settings, stopping, health, shared)``. ``workers.run`` runs them in a process."""
