"""Everything in the repository that is made from the code: `make generate` writes it, `make verify` compares."""
