"""The rolling controller: which version each row of a service should have."""
