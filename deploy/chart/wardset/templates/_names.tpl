{{/* Labels of every object. The release is not among them: the same objects come out of deploy/install.yaml. */}}
{{- define "wardset.labels" -}}
{{ include "wardset.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Never changes: the selector of a Deployment is immutable. */}}
{{- define "wardset.selector" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/component: webhook
{{- end }}

{{/* The metadata of an object, but its namespace. Called with the chart, the object's name and annotations of its own. */}}
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

{{/* The Secret that the server keeps its CA and certificate in. Nothing where the certificate is somebody else's. */}}
{{- define "wardset.ownSecret" -}}
{{- if not (include "wardset.mountedSecret" .) -}}
{{ .Values.name }}-certificates
{{- end }}
{{- end }}

{{/* The Secret that is mounted for the server. Nothing where the server makes its certificate itself. */}}
{{- define "wardset.mountedSecret" -}}
{{- if .Values.certificates.certManager.enabled -}}
{{ .Values.name }}-tls
{{- else -}}
{{ .Values.certificates.existingSecret }}
{{- end }}
{{- end }}
