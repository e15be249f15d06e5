"""Labels of the objects that the operator makes."""

from ..domain import names

STACK_LABEL, OPENED_BY_LABEL = names.STACK_LABEL, names.OPENED_BY_LABEL
# The value of OPENED_BY_LABEL on Incidents that a BackupJob opened.
BACKUP_OPENER = "backup-job"
