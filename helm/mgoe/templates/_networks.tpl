{{/* Pieces of NetworkPolicies. */}}

{{/* Peers of a part: the given ones, or every pod of the namespace: list of peers. */}}
{{- define "mgoe.peers" -}}
{{- if . -}}
{{ toYaml . }}
{{- else -}}
- podSelector: {}
{{- end -}}
{{- end -}}

{{/* Pods of a part of this release: list of context and part. */}}
{{- define "mgoe.peer" -}}
- podSelector:
    matchLabels:
      {{- include "mgoe.selector" . | nindent 6 }}
{{- end -}}

{{- define "mgoe.prometheusPeer" -}}
- namespaceSelector:
    matchLabels:
      {{- toYaml .Values.monitoring.namespaceSelector | nindent 6 }}
{{- end -}}

{{- define "mgoe.dnsRule" -}}
- to:
    - namespaceSelector: {}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{- define "mgoe.apiServerRule" -}}
- to:
    - ipBlock:
        cidr: {{ .Values.networkPolicy.apiServer.cidr }}
  ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end -}}
