"""What people do to running orders: explain, check, replay, trace, reconcile, repair. Libraries; cli/ is their face."""
