"""What a conference client coordinates: connection operations, the call, its presentation, balancing and statistics."""
