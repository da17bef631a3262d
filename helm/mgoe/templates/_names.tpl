{{/* Names, labels and images. */}}
{{- define "mgoe.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "mgoe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "mgoe.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "mgoe.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Selector labels of one part: list of context and part. */}}
{{- define "mgoe.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "mgoe.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* All labels of an object: list of context and part. */}}
{{- define "mgoe.labels" -}}
{{- $root := index . 0 -}}
{{ include "mgoe.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mgoe
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: list of context, part and name's ending ("" for none). */}}
{{- define "mgoe.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "mgoe.fullname" $root }}-{{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "mgoe.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{/* One of our images: list of context and name. */}}
{{- define "mgoe.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}/{{ index . 1 }}:{{ default $root.Chart.AppVersion $image.tag }}
{{- end -}}

{{- define "mgoe.evidence.url" -}}
http://{{ include "mgoe.fullname" . }}-evidence.{{ .Release.Namespace }}.svc:8090
{{- end -}}

{{- define "mgoe.evidence.databaseSecret" -}}
{{- if .Values.evidence.database.existingSecret -}}
{{- .Values.evidence.database.existingSecret -}}
{{- else if .Values.postgresql.enabled -}}
{{- include "mgoe.postgresql.secret" . -}}
{{- else -}}
{{- fail "evidence.database.existingSecret: name a Secret with the key `url`, or set postgresql.enabled" -}}
{{- end -}}
{{- end -}}

{{- define "mgoe.evidence.tokensSecret" -}}
{{- default (printf "%s-evidence-tokens" (include "mgoe.fullname" .)) .Values.evidence.tokens.existingSecret -}}
{{- end -}}

{{- define "mgoe.postgresql.secret" -}}
{{- default (printf "%s-postgresql" (include "mgoe.fullname" .)) .Values.postgresql.existingSecret -}}
{{- end -}}

{{/* What opens the console's own database; the evidence's owner is nobody that browsers talk to. */}}
{{- define "mgoe.console.databaseSecret" -}}
{{- if .Values.console.database.existingSecret -}}
{{- .Values.console.database.existingSecret -}}
{{- else if .Values.postgresql.enabled -}}
{{- printf "%s-console-database" (include "mgoe.fullname" .) -}}
{{- else -}}
{{- fail "console.database.existingSecret: name a Secret with the key `url` of a database and role of the console's own, or set postgresql.enabled" -}}
{{- end -}}
{{- end -}}

{{/* Whether the chart's PostgreSQL has the console's database. */}}
{{- define "mgoe.console.inPostgresql" -}}
{{- if and .Values.console.enabled .Values.postgresql.enabled (not .Values.console.database.existingSecret) -}}yes{{- end -}}
{{- end -}}

{{- define "mgoe.objectStore.secret" -}}
{{- default (printf "%s-s3" (include "mgoe.fullname" .)) .Values.objectStore.existingSecret -}}
{{- end -}}

{{- define "mgoe.objectStore.url" -}}
http://{{ include "mgoe.fullname" . }}-s3.{{ .Release.Namespace }}.svc:8333
{{- end -}}

{{- define "mgoe.mlflow.secret" -}}
{{- if .Values.mlflow.existingSecret -}}
{{- .Values.mlflow.existingSecret -}}
{{- else if .Values.postgresql.enabled -}}
{{- include "mgoe.postgresql.secret" . -}}
{{- else -}}
{{- fail "mlflow.existingSecret: name a Secret with the key `url`, or set postgresql.enabled" -}}
{{- end -}}
{{- end -}}

{{- define "mgoe.mlflow.url" -}}
http://{{ include "mgoe.fullname" . }}-mlflow.{{ .Release.Namespace }}.svc:5000
{{- end -}}

{{/* A secret value that stays as it is: list of context, secret's name, key, length. */}}
{{- define "mgoe.kept" -}}
{{- $root := index . 0 -}}
{{- $found := lookup "v1" "Secret" $root.Release.Namespace (index . 1) -}}
{{- $kept := dig "data" (index . 2) "" (default dict $found) -}}
{{- if $kept -}}{{- $kept | b64dec -}}{{- else -}}{{- randAlphaNum (index . 3) -}}{{- end -}}
{{- end -}}
