{{/*
What the operator may do in a namespace that it watches. docs/rbac.md says why, right by right.
*/}}
{{- define "docuquery-operator.rules" -}}
- apiGroups: [ops.docuquery.ai]
  resources: {{ include "docuquery-operator.kinds" . }}
  verbs: [get, list, watch]
- apiGroups: [ops.docuquery.ai]
  resources: [incidents]
  verbs: [create, patch]
- apiGroups: [ops.docuquery.ai]
  resources: [backupjobs, maintenancewindows]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch]
- apiGroups: [ops.docuquery.ai]
  resources:
    - stacks/status
    - incidents/status
    - runbooks/status
    - maintenancewindows/status
    - backupjobs/status
    - restorejobs/status
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, patch]
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, patch]
- apiGroups: [apps]
  resources: [replicasets, controllerrevisions]
  verbs: [list]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [""]
  resources: [services, persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, create, patch]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "docuquery-operator.fullname" . }}]
  verbs: [watch]
{{- end -}}

{{/* The leader Lease and the watch's canary, in the release namespace. */}}
{{- define "docuquery-operator.leaderRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "docuquery-operator.fullname" . }}]
  verbs: [get, list, watch, patch]
{{- if and .Values.watchNamespaces (not (has .Release.Namespace .Values.watchNamespaces)) }}
- apiGroups: [ops.docuquery.ai]
  resources: {{ include "docuquery-operator.kinds" . }}
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch]
{{- end }}
{{- end -}}

{{- define "docuquery-operator.subjects" -}}
- kind: ServiceAccount
  name: {{ include "docuquery-operator.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
