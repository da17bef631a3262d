{{/* What serving/rollout expects of its surroundings, in one place: command, environment, rights. */}}

{{- define "mgoe.operator.lease" -}}
mgoe-rollout
{{- end -}}

{{- define "mgoe.operator.args" -}}
- rollout
- operator
{{- end -}}

{{- define "mgoe.operator.env" -}}
- name: MGOE_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: MGOE_POD
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: MGOE_CLUSTER_WIDE
  value: {{ .Values.operator.clusterWide | quote }}
- name: MGOE_GATEWAY
  value: {{ include "mgoe.fullname" . }}-gateway
- name: MGOE_PROMETHEUS
  value: {{ .Values.operator.prometheus | quote }}
{{- $registry := .Values.operator.registry }}
{{- if and (not $registry) .Values.mlflow.enabled }}
{{- $registry = include "mgoe.mlflow.url" . }}
{{- end }}
{{- with $registry }}
- name: MGOE_REGISTRY
  value: {{ . | quote }}
{{- end }}
# The database itself: one thing less between a breach and its rollback.
- name: MGOE_EVIDENCE_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ include "mgoe.evidence.databaseSecret" . }}
      key: url
{{- end -}}

{{- define "mgoe.operator.rules" -}}
- apiGroups: [mgoe.dev]
  resources: [modelrollouts]
  verbs: [get, list, watch, patch]
- apiGroups: [mgoe.dev]
  resources: [modelrollouts/status]
  verbs: [update]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- $gateways := .Values.operator.gateways }}
{{- if .Values.gateway.enabled }}
{{- $gateways = prepend $gateways (printf "%s-gateway" (include "mgoe.fullname" .)) }}
{{- end }}
{{- with $gateways }}
# The splits of the gateways, which their charts have made.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: {{ toJson . }}
  verbs: [get, update]
{{- end }}
# Ready rankers, and the gateway's replicas.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
{{- if .Values.operator.scaling }}
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, patch]
{{- end }}
{{- if .Values.operator.kserve }}
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices]
  verbs: [get, patch]
{{- end }}
{{- end -}}
