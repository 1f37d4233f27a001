{{/* Names and labels that several objects share. */}}
{{- define "noria.labels" -}}
app.kubernetes.io/name: noria
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "noria.selector" -}}
app.kubernetes.io/name: noria
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* A runtime for each server image: an upgrade adds one and leaves what is served alone. */}}
{{- define "noria.runtime" -}}
noria-server-{{ sha256sum .Values.images.server | trunc 8 }}
{{- end -}}
