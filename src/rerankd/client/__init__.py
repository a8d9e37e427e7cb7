"""The service's own clients."""

from rerankd.client.answers import JobStatus
from rerankd.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "JobStatus"]
