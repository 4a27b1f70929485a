"""The real server of the API's tests, with the fast service behind it."""

from tests.api.conftest import base_url, client, say, service, settings

__all__ = ["base_url", "client", "say", "service", "settings"]
