"""Reactions to lower apps' news; each makes one service call."""
