{{- define "docuquery-operator.receiver.name" -}}
{{- printf "%s-receiver" (include "docuquery-operator.fullname" .) -}}
{{- end -}}

{{- define "docuquery-operator.receiver.selector" -}}
app.kubernetes.io/name: {{ include "docuquery-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: receiver
{{- end -}}

{{- define "docuquery-operator.receiver.labels" -}}
{{ include "docuquery-operator.common" . }}
{{ include "docuquery-operator.receiver.selector" . }}
{{- end -}}

{{/* What the receiver may do in a watched namespace. docs/rbac.md says why, right by right. */}}
{{- define "docuquery-operator.receiver.rules" -}}
- apiGroups: [ops.docuquery.ai]
  resources: [incidents]
  verbs: [get, list, create, patch]
- apiGroups: [ops.docuquery.ai]
  resources: [stacks]
  verbs: [get]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [docuquery-watchdog]
  verbs: [patch]
{{- end -}}

{{- define "docuquery-operator.receiver.subjects" -}}
- kind: ServiceAccount
  name: {{ include "docuquery-operator.receiver.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
