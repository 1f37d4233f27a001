{{/* Names and labels that several objects share. */}}
{{- define "noria.labels" -}}
app.kubernetes.io/name: noria
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Of what a Prometheus selects by its labels. */}}
{{- define "noria.monitored" -}}
{{- merge (include "noria.labels" . | fromYaml) (.Values.monitorLabels | default dict) | toYaml -}}
{{- end -}}

{{- define "noria.selector" -}}
app.kubernetes.io/name: noria
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* A runtime for each server image and limit: an upgrade adds one and leaves what is served alone. */}}
{{- define "noria.runtime" -}}
{{- $most := (.Values.server | default dict).maxRequestBytes | default 16777216 | int64 -}}
noria-server-{{ printf "%s %d" .Values.images.server $most | sha256sum | trunc 8 }}
{{- end -}}
