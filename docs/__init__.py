"""Documentation; its reference pages are generated."""
