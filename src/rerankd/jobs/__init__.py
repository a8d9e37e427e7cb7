"""Asynchronous jobs: kept, worked in process or by Celery workers, and announced when they end."""
