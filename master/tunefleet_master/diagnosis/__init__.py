"""What an expert would say of a study and its trials. Pure: no database, no web, no clock."""
