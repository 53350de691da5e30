"""What an address is: text, labels, spans. Pure: no I/O beyond reading packaged tables, no HTTP, no clock."""
