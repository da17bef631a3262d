{{/* `mgoe evidence migrate` as a container. */}}
{{- define "mgoe.evidence.migrate" -}}
name: migrate
image: {{ include "mgoe.image" (list . "control") }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [evidence, migrate]
env:
  {{- include "mgoe.evidence.database" . | nindent 2 }}
resources:
  {{- toYaml .Values.evidence.resources | nindent 2 }}
{{ include "mgoe.container" . }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "mgoe.evidence.database" -}}
- name: MGOE_EVIDENCE_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ include "mgoe.evidence.databaseSecret" . }}
      key: url
{{- end -}}
