"""What a conference client coordinates: connection operations, the call, its presentation, balancing and statistics."""

from sipproto.connector._connector import Connector
from sipproto.connector.config import AutoConnect, BusyPolicy, ConnectionParameters, ConnectorConfig

__all__ = ["AutoConnect", "BusyPolicy", "ConnectionParameters", "Connector", "ConnectorConfig"]
