"""What deployments need: configuration made from the settings of the service."""
