"""The reference pages of `docs/reference`: made from the code, every example in them evaluated."""
