"""What an operator does: check, migrate, run one part, manage accounts, fill a secret, merge the API documents."""
