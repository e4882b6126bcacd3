"""An operator's daily work, through the SDK."""
