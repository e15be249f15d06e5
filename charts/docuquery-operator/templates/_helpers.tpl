{{- define "docuquery-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Leaves room for the suffixes of the other objects' names. */}}
{{- define "docuquery-operator.fullname" -}}
{{- $name := include "docuquery-operator.name" . -}}
{{- $joined := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $joined .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "docuquery-operator.selector" -}}
app.kubernetes.io/name: {{ include "docuquery-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Without the component, which the selector or the object itself adds. */}}
{{- define "docuquery-operator.common" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: docuquery
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "docuquery-operator.labels" -}}
{{ include "docuquery-operator.common" . }}
{{ include "docuquery-operator.selector" . }}
{{- end -}}

{{- define "docuquery-operator.serviceAccount" -}}
{{- $own := ternary (include "docuquery-operator.fullname" .) "default" .Values.serviceAccount.create -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{- define "docuquery-operator.image" -}}
{{- $image := .Values.image -}}
{{- printf "%s:%s" $image.repository $image.tag -}}{{- with $image.digest -}}@{{ . }}{{- end -}}
{{- end -}}

{{- define "docuquery-operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* All six kinds of the API group. */}}
{{- define "docuquery-operator.kinds" -}}
[stacks, incidents, runbooks, maintenancewindows, backupjobs, restorejobs]
{{- end -}}

{{- define "docuquery-operator.testLabels" -}}
app.kubernetes.io/name: {{ include "docuquery-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}
