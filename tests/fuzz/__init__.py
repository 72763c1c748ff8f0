"""Damaged documents through the true path of extraction (`make fuzz`)."""
