{{- define "docuquery-operator.pageName" -}}
{{ include "docuquery-operator.fullname" . }}-page
{{- end -}}

{{- define "docuquery-operator.pageSelector" -}}
app.kubernetes.io/name: {{ include "docuquery-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: status-page
{{- end -}}

{{- define "docuquery-operator.pageLabels" -}}
{{ include "docuquery-operator.common" . }}
{{ include "docuquery-operator.pageSelector" . }}
{{- end -}}

{{- define "docuquery-operator.mirrorSelector" -}}
app.kubernetes.io/name: {{ include "docuquery-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: status-mirror
{{- end -}}

{{/* Whose Stacks are shown. */}}
{{- define "docuquery-operator.pageNamespace" -}}
{{- $namespace := default (first .Values.watchNamespaces) .Values.page.namespace -}}
{{- if not $namespace }}
{{- fail "page.namespace: say whose Stacks the status page shows, as watchNamespaces is empty" }}
{{- end }}
{{- if and .Values.watchNamespaces (not (has $namespace .Values.watchNamespaces)) }}
{{- fail (printf "page.namespace: %s is not in watchNamespaces, so that nothing is known of it" $namespace) }}
{{- end }}
{{- $namespace -}}
{{- end -}}

{{/* All that the page may do: read three kinds where its Stacks are. */}}
{{- define "docuquery-operator.pageRules" -}}
- apiGroups: [ops.docuquery.ai]
  resources: [stacks, incidents, maintenancewindows]
  verbs: [list, watch]
{{- end -}}

{{/* And the operator's Lease, by its name. */}}
{{- define "docuquery-operator.pageLeaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "docuquery-operator.fullname" . }}]
  verbs: [get]
{{- end -}}

{{- define "docuquery-operator.pageEnv" -}}
- {name: DOCUQUERY_PAGE_NAMESPACE, value: {{ include "docuquery-operator.pageNamespace" . | quote }}}
- {name: DOCUQUERY_PAGE_STACK, value: {{ .Values.page.stack | quote }}}
- {name: DOCUQUERY_PAGE_TITLE, value: {{ .Values.page.title | quote }}}
- {name: DOCUQUERY_PAGE_URL, value: {{ .Values.page.url | quote }}}
- {name: DOCUQUERY_PAGE_STALE_SECONDS, value: {{ .Values.page.staleSeconds | quote }}}
- {name: DOCUQUERY_PAGE_LEASE_NAMESPACE, value: {{ .Release.Namespace | quote }}}
- {name: DOCUQUERY_PAGE_LEASE_NAME, value: {{ include "docuquery-operator.fullname" . | quote }}}
- {name: DOCUQUERY_PAGE_LOG_LEVEL, value: {{ .Values.settings.logLevel | quote }}}
{{- end -}}
