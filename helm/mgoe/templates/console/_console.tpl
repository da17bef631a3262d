{{/* What serving/console expects of its surroundings. */}}

{{- define "mgoe.console.secret" -}}
{{- default (printf "%s-console" (include "mgoe.fullname" .)) .Values.console.tokens.existingSecret -}}
{{- end -}}

{{- define "mgoe.console.args" -}}
{{- $name := printf "%s-console" (include "mgoe.fullname" .) -}}
- console
- serve
- --namespace={{ .Release.Namespace }}
- --address=0.0.0.0
- --port=8091
- --key=/etc/mgoe/console/key
{{- if .Values.console.proxy.header }}
{{- if not .Values.console.proxy.cidrs }}
{{- fail (printf "console.proxy.cidrs: name the addresses of the proxies that may set %s" .Values.console.proxy.header) }}
{{- end }}
- --trusted-header={{ .Values.console.proxy.header }}
{{- range .Values.console.proxy.cidrs }}
- --trusted-proxy={{ . }}
{{- end }}
{{- range .Values.console.proxy.steerUsers }}
- --steer-user={{ . }}
{{- end }}
{{- else }}
- --tokens=/etc/mgoe/console/tokens
{{- end }}
# Names by which it may be called, besides localhost (kubectl port-forward).
{{- range $host := concat (list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace)) .Values.console.hosts }}
- --host={{ $host }}
{{- end }}
{{- end -}}

{{- define "mgoe.console.env" -}}
- name: MGOE_PROMETHEUS
  value: {{ .Values.operator.prometheus | quote }}
{{- if .Values.evidence.enabled }}
- name: MGOE_EVIDENCE
  value: {{ include "mgoe.evidence.url" . }}
- name: MGOE_EVIDENCE_READ_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "mgoe.evidence.tokensSecret" . }}
      key: read-token
{{- end }}
# Audit and splits, by a role that reaches nothing else.
- name: MGOE_CONSOLE_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ include "mgoe.console.databaseSecret" . }}
      key: url
{{- end -}}
