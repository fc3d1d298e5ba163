"""What the workflow's steps do."""
