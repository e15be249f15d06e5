"""Labels of the objects that the operator makes."""

STACK_LABEL = "ops.docuquery.ai/stack"
OPENED_BY_LABEL = "ops.docuquery.ai/opened-by"
# The value of OPENED_BY_LABEL on Incidents that a BackupJob opened.
BACKUP_OPENER = "backup-job"
