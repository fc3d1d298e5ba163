"""The one write rule in SQL, read models, and the outbox. No BEGIN stands outside this folder."""
