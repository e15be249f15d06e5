{{/*
Rules for who may let the operator do what, in CEL. docs/admission.md explains them.
An expression can afford two questions to the authorizer, so each stands in a variable of its own. Variables are lazy.
Optional fields are read by `.?`, for a rule that fails to evaluate refuses everything.
*/}}
{{- define "docuquery-operator.username" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "docuquery-operator.serviceAccount" .) | squote -}}
{{- end -}}

{{/* The receiver of alerts and answers: whose names it may write, and that it writes no more than that. */}}
{{- define "docuquery-operator.admission.receiver" -}}
{{- $account := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "docuquery-operator.receiver.name" .) }}
- name: receiver
  expression: {{ ternary (printf "request.userInfo.username == %s" ($account | squote)) "false" .Values.receiver.enabled | quote }}
- name: inSlack
  expression: "'^slack:[UW][A-Z0-9]{2,30}$'"
- name: inPagerDuty
  expression: "'^pagerduty:[A-Z0-9]{4,30}$'"
# A new Incident for an alert, or an old one with other alerts, severity and answers: the Stack says which types, and its mode holds.
- name: narrow
  expression: >-
    variables.created
    ? (object.spec.?alerts.orValue([]).size() > 0 && variables.answers.size() == 0
    && !has(object.spec.mode) && !has(object.spec.parameters) && !has(object.spec.publicMessage)
    && !has(object.spec.acknowledged) && !has(object.spec.resolved) && !has(object.spec.review))
    : (object.spec.?mode == variables.old.?mode && object.spec.?component == variables.old.?component
    && object.spec.?parameters == variables.old.?parameters && object.spec.?publicMessage == variables.old.?publicMessage
    && object.spec.?title == variables.old.?title && object.spec.?description == variables.old.?description
    && object.spec.?review == variables.old.?review)
{{- end -}}

{{/* What a restart needs of whoever asks for it. */}}
{{- define "docuquery-operator.admission.rights" -}}
- name: patchesStatefulSets
  expression: authorizer.group('apps').resource('statefulsets').namespace(request.namespace).check('patch').allowed()
- name: patchesDeployments
  expression: authorizer.group('apps').resource('deployments').namespace(request.namespace).check('patch').allowed()
- name: evicts
  expression: authorizer.group('').resource('pods').subresource('eviction').namespace(request.namespace).check('create').allowed()
- name: mayRestart
  expression: variables.patchesStatefulSets && variables.patchesDeployments && variables.evicts
{{- end -}}

{{- define "docuquery-operator.admission.secrets" -}}
- name: readsSecrets
  expression: authorizer.group('').resource('secrets').namespace(request.namespace).check('get').allowed()
{{- end -}}

{{/* The spec before; empty at creation. */}}
{{- define "docuquery-operator.admission.old" -}}
- name: created
  expression: request.operation == 'CREATE'
- name: old
  expression: "variables.created ? dyn({}) : dyn(oldObject.spec)"
{{- end -}}

{{- define "docuquery-operator.admission.incidents" -}}
variables:
  {{- include "docuquery-operator.admission.old" . | nindent 2 }}
  {{- include "docuquery-operator.admission.rights" . | nindent 2 }}
  - name: acts
    expression: "!(object.spec.?mode.orValue('') in ['Observe', 'Off'])"
  - name: asksForMore
    expression: >-
      variables.created
      || object.spec.?mode != variables.old.?mode
      || object.spec.?type != variables.old.?type
      || object.spec.?component != variables.old.?component
      || object.spec.?parameters != variables.old.?parameters
      || object.spec.?refiredAt != variables.old.?refiredAt
  - name: answers
    expression: object.spec.?approvals.orValue([])
  - name: oldAnswers
    expression: variables.old.?approvals.orValue([])
  - name: user
    expression: request.userInfo.username
  {{- include "docuquery-operator.admission.receiver" . | nindent 2 }}
validations:
  # In mode Observe an answer waits for the mode to become looser, so it needs the rights in each mode.
  - expression: >-
      !(variables.answers != variables.oldAnswers || (variables.acts && variables.asksForMore))
      || variables.receiver || variables.mayRestart
    reason: Forbidden
    message: >-
      this Incident lets the operator restart workloads, so you yourself need the right to patch statefulsets.apps and
      deployments.apps and to create pods/eviction in this namespace: ask somebody who has it to apply this, or set
      spec.mode: Observe and leave approvals out
  - expression: "!variables.receiver || variables.narrow"
    reason: Forbidden
    message: >-
      the receiver of alerts may open Incidents for alerts, and change only alerts, severity, refiredAt and answers of others;
      leave the rest as it is
  - expression: >-
      variables.receiver
      ? variables.answers.filter(a, !a.by.matches(variables.inSlack))
      == variables.oldAnswers.filter(a, !a.by.matches(variables.inSlack))
      : variables.answers.filter(a, a.by != variables.user) == variables.oldAnswers.filter(a, a.by != variables.user)
    reason: Forbidden
    message: >-
      spec.approvals[].by must be your own user name, and the answers of others stay as they are, in their order: add
      yours at the end; kubectl auth whoami shows your name
  - expression: >-
      !has(object.spec.acknowledged) || (variables.receiver
      ? object.spec.acknowledged.by.matches(variables.inSlack + '|' + variables.inPagerDuty)
      : object.spec.acknowledged.by == variables.user)
      || object.spec.?acknowledged == variables.old.?acknowledged
    reason: Forbidden
    message: spec.acknowledged.by must be your own user name; kubectl auth whoami shows it
  - expression: >-
      !has(object.spec.resolved) || (variables.receiver
      ? object.spec.resolved.by.matches(variables.inPagerDuty)
      : object.spec.resolved.by == variables.user)
      || object.spec.?resolved == variables.old.?resolved
    reason: Forbidden
    message: spec.resolved.by must be your own user name; kubectl auth whoami shows it
  - expression: >-
      !variables.created
      || object.metadata.?annotations[?'ops.docuquery.ai/created-by'].orValue(variables.user) == variables.user
    reason: Forbidden
    message: >-
      the annotation ops.docuquery.ai/created-by must be your own user name: leave it out, or write what kubectl auth
      whoami shows
  - expression: >-
      variables.created
      || object.metadata.?annotations[?'ops.docuquery.ai/created-by']
      == oldObject.metadata.?annotations[?'ops.docuquery.ai/created-by']
    reason: Forbidden
    message: >-
      the annotation ops.docuquery.ai/created-by is written at creation or never; it cannot be added, changed or removed
      later: leave it as it is
{{- end -}}

{{- define "docuquery-operator.admission.stacks" -}}
variables:
  {{- include "docuquery-operator.admission.old" . | nindent 2 }}
  {{- include "docuquery-operator.admission.rights" . | nindent 2 }}
  {{- include "docuquery-operator.admission.secrets" . | nindent 2 }}
  - name: acts
    expression: "!(object.spec.?healing.?mode.orValue('Auto') in ['Observe', 'Off'])"
  - name: asksForMore
    expression: >-
      variables.created
      || object.spec.?components != variables.old.?components
      || object.spec.?healing != variables.old.?healing
      || object.spec.?detection != variables.old.?detection
      || object.spec.?alerts != variables.old.?alerts
      || object.spec.?approvers != variables.old.?approvers
      || (variables.old.?paused.orValue(false) && !object.spec.?paused.orValue(false))
  - name: components
    expression: object.spec.?components.orValue({})
  - name: oldComponents
    expression: variables.old.?components.orValue({})
  # Of what is new or changed.
  - name: blockers
    expression: >-
      variables.components.map(n, variables.oldComponents[?n] != optional.of(variables.components[n]),
      variables.components[n].?blocking.?enforcer.orValue(''))
  - name: writesPolicies
    expression: authorizer.group('networking.k8s.io').resource('networkpolicies').namespace(request.namespace).check('create').allowed()
  - name: patchesPolicies
    expression: authorizer.group('networking.k8s.io').resource('networkpolicies').namespace(request.namespace).check('patch').allowed()
  - name: patchesIngresses
    expression: authorizer.group('networking.k8s.io').resource('ingresses').namespace(request.namespace).check('patch').allowed()
  - name: channels
    expression: object.spec.?communication.?channels.orValue({})
  - name: oldChannels
    expression: variables.old.?communication.?channels.orValue({})
  # Of what is new or changed: a known Secret with another Service beside it would be sent somewhere else.
  - name: secretNames
    expression: >-
      variables.components.map(n,
      has(variables.components[n].credentials) && variables.oldComponents[?n] != optional.of(variables.components[n]),
      variables.components[n].credentials.secretName)
      + variables.channels.map(n,
      variables.oldChannels[?n] != optional.of(variables.channels[n]),
      variables.channels[n].secretRef.secretName)
  {{- $ask := "authorizer.group('').resource('secrets').namespace(request.namespace).name(variables.secretNames[%d]).check('get').allowed()" }}
  {{- range $i := until 4 }}
  {{- $one := mul $i 2 | int }}
  {{- $two := add1 $one | int }}
  - name: reads{{ $i }}
    expression: >-
      variables.secretNames.size() <= {{ $one }}
      || ({{ printf $ask $one }}
      && (variables.secretNames.size() <= {{ $two }} || {{ printf $ask $two }}))
  {{- end }}
validations:
  - expression: "!(variables.acts && variables.asksForMore) || variables.mayRestart"
    reason: Forbidden
    message: >-
      this Stack lets the operator restart workloads, so you yourself need the right to patch statefulsets.apps and
      deployments.apps and to create pods/eviction in this namespace: ask somebody who has it to apply this, or set
      spec.healing.mode: Observe; spec.paused: true needs no right
  - expression: "!('NetworkPolicy' in variables.blockers) || (variables.writesPolicies && variables.patchesPolicies)"
    reason: Forbidden
    message: >-
      blocking.enforcer: NetworkPolicy lets the operator write a NetworkPolicy, so you yourself need the right to create and
      patch networkpolicies.networking.k8s.io in this namespace: ask somebody who has it, or use enforcer: ApiDenySet
  - expression: "!('IngressNginx' in variables.blockers) || variables.patchesIngresses"
    reason: Forbidden
    message: >-
      blocking.enforcer: IngressNginx lets the operator change an Ingress, so you yourself need the right to patch
      ingresses.networking.k8s.io in this namespace: ask somebody who has it, or use enforcer: ApiDenySet
  - expression: >-
      variables.secretNames.size() == 0 || variables.readsSecrets
      || (variables.secretNames.size() <= 8 && variables.reads0 && variables.reads1 && variables.reads2 && variables.reads3)
    reason: Forbidden
    message: >-
      this Stack lets the operator use Secrets, so you yourself need the right to get each Secret that its new or changed
      components and channels name: ask somebody who has it to apply this; more than 8 at once need the right to get all
      secrets of this namespace
{{- end -}}

{{- define "docuquery-operator.admission.runbooks" -}}
variables:
  {{- include "docuquery-operator.admission.old" . | nindent 2 }}
  {{- include "docuquery-operator.admission.rights" . | nindent 2 }}
  {{- include "docuquery-operator.admission.secrets" . | nindent 2 }}
  - name: changed
    expression: dyn(object.spec) != variables.old
  # An action that is not named here counts as a restart.
  - name: restarts
    expression: >-
      object.spec.?causes.orValue([]).exists(c, c.?remediate.orValue([]).exists(s,
      !(s.action in ['waitForRecovery', 'proposeMemory', 'proposeVolume', 'proposeScaling',
      'terminateIdleSessions', 'terminateBlocker', 'killIdleClients', 'dropCacheKeys', 'blockClients',
      'setAsideRedis', 'putBackRedis', 'dropRedisAside',
      'quarantineQueue', 'putBackQuarantine', 'dropQuarantine', 'optimizeCollections'])))
  - name: endsSessions
    expression: >-
      object.spec.?causes.orValue([]).exists(c, c.?remediate.orValue([]).exists(s,
      s.action in ['terminateIdleSessions', 'terminateBlocker', 'killIdleClients', 'dropCacheKeys', 'blockClients',
      'setAsideRedis', 'putBackRedis', 'dropRedisAside',
      'quarantineQueue', 'putBackQuarantine', 'dropQuarantine', 'optimizeCollections']))
validations:
  - expression: "!(variables.changed && variables.restarts) || variables.mayRestart"
    reason: Forbidden
    message: >-
      this Runbook restarts workloads, so you yourself need the right to patch statefulsets.apps and deployments.apps and
      to create pods/eviction in this namespace: ask somebody who has it to apply this, or use only steps that touch
      nothing
  - expression: "!(variables.changed && variables.endsSessions) || variables.readsSecrets"
    reason: Forbidden
    message: >-
      this Runbook ends sessions of a store, or blocks clients, with the password of any Stack of this namespace, so you yourself
      need the right to get secrets in it: ask somebody who has it to apply this, or use only steps that touch nothing
{{- end -}}

{{/* A Job mounts Secrets, and sends what it reads to a store that the user names. */}}
{{- define "docuquery-operator.admission.moves" -}}
{{- include "docuquery-operator.admission.old" . }}
{{ include "docuquery-operator.admission.secrets" . }}
- name: makesJobs
  expression: authorizer.group('batch').resource('jobs').namespace(request.namespace).check('create').allowed()
- name: changed
  expression: dyn(object.spec) != variables.old
{{- end -}}

{{- define "docuquery-operator.admission.backupjobs" -}}
variables:
  {{- include "docuquery-operator.admission.moves" . | nindent 2 }}
validations:
  - expression: "!variables.changed || (variables.readsSecrets && variables.makesJobs)"
    reason: Forbidden
    message: >-
      this BackupJob lets the operator run Jobs that read Secrets and send data to the store that it names, so you yourself
      need the right to get secrets and to create jobs.batch in this namespace: ask somebody who has it to apply this
{{- end -}}

{{- define "docuquery-operator.admission.restorejobs" -}}
variables:
  {{- include "docuquery-operator.admission.moves" . | nindent 2 }}
  - name: user
    expression: request.userInfo.username
validations:
  - expression: "!variables.changed || (variables.readsSecrets && variables.makesJobs)"
    reason: Forbidden
    message: >-
      this RestoreJob lets the operator run Jobs that read Secrets and replace data, so you yourself need the right to get
      secrets and to create jobs.batch in this namespace: ask somebody who has it to apply this
  - expression: >-
      !has(object.spec.approval) || object.spec.approval.by == variables.user
      || object.spec.?approval == variables.old.?approval
    reason: Forbidden
    message: spec.approval.by must be your own user name; kubectl auth whoami shows it
  - expression: >-
      !variables.created
      || object.metadata.?annotations[?'ops.docuquery.ai/created-by'].orValue(variables.user) == variables.user
    reason: Forbidden
    message: >-
      the annotation ops.docuquery.ai/created-by must be your own user name, as kubectl auth whoami shows it; without it
      nothing is restored onto a Stack
  - expression: >-
      variables.created
      || object.metadata.?annotations[?'ops.docuquery.ai/created-by']
      == oldObject.metadata.?annotations[?'ops.docuquery.ai/created-by']
    reason: Forbidden
    message: >-
      the annotation ops.docuquery.ai/created-by is written at creation or never; it cannot be added, changed or removed
      later: leave it as it is
{{- end -}}

{{/* Tasks that only look need no right; one that is not named here counts as one that runs Jobs. */}}
{{- define "docuquery-operator.admission.windows" -}}
variables:
  {{- include "docuquery-operator.admission.old" . | nindent 2 }}
  {{- include "docuquery-operator.admission.rights" . | nindent 2 }}
  {{- include "docuquery-operator.admission.secrets" . | nindent 2 }}
  - name: makesJobs
    expression: authorizer.group('batch').resource('jobs').namespace(request.namespace).check('create').allowed()
  - name: asksForMore
    expression: >-
      variables.created || object.spec.?tasks != variables.old.?tasks
      || object.spec.?components != variables.old.?components
  - name: updates
    expression: >-
      object.spec.?tasks.orValue([]).exists(t, t.type == 'UpdateImages' && !t.?updateImages.?reportOnly.orValue(false))
  - name: works
    expression: >-
      object.spec.?tasks.orValue([]).exists(t, !(t.type in
      ['HealthCheck', 'ResourceUsage', 'ErrorRate', 'PerformanceReview', 'CapacityPlan', 'UpdateImages']))
validations:
  - expression: "!(variables.asksForMore && variables.works) || (variables.readsSecrets && variables.makesJobs)"
    reason: Forbidden
    message: >-
      this MaintenanceWindow lets the operator run Jobs with passwords and volumes of the Stack, so you yourself need the right
      to get secrets and to create jobs.batch in this namespace: ask somebody who has it to apply this, or use only tasks that
      look
  - expression: "!(variables.asksForMore && variables.updates) || variables.mayRestart"
    reason: Forbidden
    message: >-
      the task UpdateImages restarts workloads, so you yourself need the right to patch statefulsets.apps and deployments.apps
      and to create pods/eviction in this namespace: ask somebody who has it to apply this, or set updateImages.reportOnly: true
{{- end -}}

{{- define "docuquery-operator.admission.status" -}}
validations:
  - expression: "false"
    reason: Forbidden
    message: >-
      only the operator writes status; people write spec: acknowledged takes an Incident, approvals answers it, resolved
      closes it
{{- end -}}
