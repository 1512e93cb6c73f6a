{{/* The annotations of both configurations. */}}
{{- define "wardset.webhookAnnotations" -}}
{{- if .Values.aks.disableAdmissionsEnforcer }}
admissions.enforcer/disabled: "true"
{{- end }}
{{- if .Values.certificates.certManager.enabled }}
cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ .Values.name }}-tls
{{- end }}
{{- end }}

{{/*
The address of one of the server's paths. If the server or cert-manager writes `caBundle`, the chart leaves it out, so that an
upgrade keeps the written one.
*/}}
{{- define "wardset.clientConfig" -}}
{{- with .chart.Values.webhooks.clientConfigUrl -}}
url: {{ . }}{{ $.path }}
{{- else -}}
service: {name: {{ .chart.Values.name }}, namespace: {{ .chart.Release.Namespace }}, port: 443, path: {{ .path }}}
{{- end }}
{{- with .chart.Values.certificates.caBundle }}
caBundle: {{ . }}
{{- end }}
{{- end }}

{{/*
The two entries for DaemonSets. Arguments: the chart, the path, and whether the webhook may change objects.
DaemonSets only, never Pods or Nodes, so that a dead webhook can't stop a node from joining.
*/}}
{{- define "wardset.daemonsets" -}}
{{- if eq .chart.Release.Namespace "kube-system" }}
{{- fail "Wardset can't be in kube-system: it never reviews its own namespace, but it must review kube-system" }}
{{- end }}
{{- $values := .chart.Values.webhooks -}}
# Every namespace except kube-system and Wardset's own.
- name: daemonsets.wardset.dev
  {{- include "wardset.entry" . | nindent 2 }}
  timeoutSeconds: {{ $values.timeoutSeconds }}
  # If no server answers, `Fail` refuses writes of DaemonSets, and `Ignore` admits them without a review.
  failurePolicy: {{ $values.failurePolicy }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values:
          {{- toYaml (concat (list "kube-system" .chart.Release.Namespace) $values.excludeNamespaces | uniq) | nindent 10 }}
      {{- with include "wardset.ignoreLabel" .chart }}
      {{- . | nindent 6 }}
      {{- end }}
# kube-system has its own entry with `Ignore`, so the cluster's network and DNS never depend on Wardset.
- name: kube-system.daemonsets.wardset.dev
  {{- include "wardset.entry" . | nindent 2 }}
  timeoutSeconds: {{ $values.timeoutSeconds }}
  failurePolicy: Ignore
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: [kube-system]
      {{- with include "wardset.ignoreLabel" .chart }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end }}

{{- define "wardset.ignoreLabel" -}}
{{- with .Values.webhooks.ignoreLabel -}}
# Turns off the reviews of one namespace.
- key: {{ . }}
  operator: NotIn
  values: ["true"]
{{- end }}
{{- end }}

{{/* The common fields of the entries for DaemonSets. */}}
{{- define "wardset.entry" -}}
admissionReviewVersions: [v1]
# The server writes nothing, so a dry run gets the same decision.
sideEffects: None
{{- if .mutating }}
# Runs again if a later webhook changed the object. Policies add nothing that is already present.
reinvocationPolicy: IfNeeded
{{- end }}
# The API server converts requests for other versions of the resource, so they are reviewed too.
matchPolicy: Equivalent
rules:
  - apiGroups: [apps]
    apiVersions: [v1]
    # Not `daemonsets/*`: Wardset does not review status and scale.
    resources: [daemonsets]
    operations: [CREATE, UPDATE]
    scope: Namespaced
# The server would also allow the requests that these conditions exclude. On CREATE, `oldObject` is null.
matchConditions:
  - name: not-being-deleted
    expression: oldObject == null || !has(oldObject.metadata.deletionTimestamp)
  # If an update only adds or removes finalizers, it must never be blocked. The expression compares all other members of
  # the object and of its metadata, except those that the API server itself writes.
  - name: not-finalizers-only
    expression: >-
      oldObject == null
      || (has(object.metadata.finalizers) ? object.metadata.finalizers : []) == (has(oldObject.metadata.finalizers) ? oldObject.metadata.finalizers : [])
      || object.exists(k, k != 'metadata' && !(k in oldObject && object[k] == oldObject[k]))
      || oldObject.exists(k, !(k in object))
      || object.metadata.exists(k, !(k in ['finalizers', 'generation', 'managedFields', 'resourceVersion']) && !(k in oldObject.metadata && object.metadata[k] == oldObject.metadata[k]))
      || oldObject.metadata.exists(k, !(k in ['finalizers', 'generation', 'managedFields', 'resourceVersion']) && !(k in object.metadata))
clientConfig:
  {{- include "wardset.clientConfig" . | nindent 2 }}
{{- end }}
