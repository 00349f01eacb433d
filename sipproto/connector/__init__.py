"""What a conference client coordinates: connection operations, the call, its presentation, balancing and statistics."""

from sipproto.connector._connector import Connector
from sipproto.connector.config import BusyPolicy, ConnectionParameters, ConnectorConfig

__all__ = ["BusyPolicy", "ConnectionParameters", "Connector", "ConnectorConfig"]
