"""The service's own clients."""

from rerankd.client.client import AsyncClient, Client
from rerankd.client.responses import JobStatus

__all__ = ["AsyncClient", "Client", "JobStatus"]
