"""What `aftercommit doctor` looks at: whether what is below a node keeps what the node promises."""

from aftercommit.doctor.finding import Finding, Level, Report

__all__ = ["Finding", "Level", "Report"]
