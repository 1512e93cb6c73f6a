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
Where the API server finds a path of the server. Without `caBundle` where the server or cert-manager writes it: an upgrade
then leaves what they wrote.
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
The two entries for DaemonSets: called with the chart, the path, and whether it may change objects.
DaemonSets only, never Pods or Nodes: a webhook that is down can't stop a node from joining.
*/}}
{{- define "wardset.daemonsets" -}}
{{- if eq .chart.Release.Namespace "kube-system" }}
{{- fail "Wardset can't be in kube-system: its own namespace is not reviewed, and kube-system is" }}
{{- end }}
{{- $values := .chart.Values.webhooks -}}
# Everything but kube-system and Wardset's own namespace.
- name: daemonsets.wardset.dev
  {{- include "wardset.entry" . | nindent 2 }}
  timeoutSeconds: {{ $values.timeoutSeconds }}
  # While no server answers, `Fail` refuses writes of DaemonSets and `Ignore` lets them pass unseen.
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
# kube-system by itself, with `Ignore`: the network and DNS of the cluster never wait for Wardset.
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
# The way out for one namespace.
- key: {{ . }}
  operator: NotIn
  values: ["true"]
{{- end }}
{{- end }}

{{/* What the entries for DaemonSets have in common. */}}
{{- define "wardset.entry" -}}
admissionReviewVersions: [v1]
# Nothing is written anywhere, and a dry run gets the same decision.
sideEffects: None
{{- if .mutating }}
# Runs again where a later webhook changed the object. Policies ask for nothing that is there already.
reinvocationPolicy: IfNeeded
{{- end }}
# A request for another version of the same resource is converted and reviewed too.
matchPolicy: Equivalent
rules:
  - apiGroups: [apps]
    apiVersions: [v1]
    # Not `daemonsets/*`: status and scale are none of its business.
    resources: [daemonsets]
    operations: [CREATE, UPDATE]
    scope: Namespaced
# What they keep out, the server would let pass too. On CREATE `oldObject` is null.
matchConditions:
  - name: not-being-deleted
    expression: oldObject == null || !has(oldObject.metadata.deletionTimestamp)
  # Taking a finalizer away or adding one is never held up, if that is all that an update does. Every other member of the
  # object and of its metadata is compared, whatever its name; those that the API server itself writes are not.
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
