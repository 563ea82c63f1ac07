"""Single pieces of a service: each is planned by a function of a checkout, and made by ``applying.run_plan``."""
