{{/* Labels of every object, without the release's name, which deploy/install.yaml doesn't have. */}}
{{- define "wardset.labels" -}}
{{ include "wardset.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Must never change, because the selector of a Deployment is immutable. */}}
{{- define "wardset.selector" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/component: webhook
{{- end }}

{{/* The metadata of an object, except its namespace. Arguments: the chart, the object's name and its own annotations. */}}
{{- define "wardset.metadata" -}}
name: {{ .name }}
labels:
  {{- include "wardset.labels" .chart | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .chart.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "wardset.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* The Secret with the server's own CA and certificate. Empty if the server doesn't issue its certificate. */}}
{{- define "wardset.ownSecret" -}}
{{- if not (include "wardset.mountedSecret" .) -}}
{{ .Values.name }}-certificates
{{- end }}
{{- end }}

{{/* The Secret that is mounted into the pod. Empty if the server issues its own certificate. */}}
{{- define "wardset.mountedSecret" -}}
{{- if .Values.certificates.certManager.enabled -}}
{{ .Values.name }}-tls
{{- else -}}
{{ .Values.certificates.existingSecret }}
{{- end }}
{{- end }}

{{/* Whether a value names a ConfigMap or a Secret. Argument: the value. */}}
{{- define "wardset.isMounted" -}}
{{ .configMap }}{{ .secret }}
{{- end }}

{{/* The source of a volume with a ConfigMap or a Secret. Arguments: the value, and whether to mount its key only. */}}
{{- define "wardset.mounted" -}}
{{- with .value -}}
{{- if .configMap -}}
configMap:
  name: {{ .configMap }}
{{- else -}}
secret:
  secretName: {{ .secret }}
  # Readable for the pod's group.
  defaultMode: 288 # 0440
{{- end }}
{{- if $.keyOnly }}
  items:
    - {key: {{ .key }}, path: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
