"""What developers run: generators, the fault storm, planted bugs, the recorder of histories. Not installed."""
