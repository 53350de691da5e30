"""Text in, components out; knows neither HTTP nor Redis."""
