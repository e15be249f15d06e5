"""What comes in from outside: alerts of Alertmanager, answers from Slack and PagerDuty. Turns requests into objects."""
