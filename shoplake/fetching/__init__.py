"""Getting a shop's events from where they are: databases, services and public sets, into the landing folder."""
