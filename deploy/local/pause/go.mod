module docuquery.ai/local/pause

go 1.24
