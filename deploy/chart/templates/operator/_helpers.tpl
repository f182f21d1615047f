{{/* Whether there is an operator: "true" if a door is on that has a controller. */}}
{{- define "bulla.operator.isOn" -}}
{{- if or .Values.sealing.enabled .Values.inject.enabled (include "bulla.node.isSynced" .) -}}true{{- end -}}
{{- end -}}

{{- define "bulla.operator.name" -}}
{{ include "bulla.fullname" . }}-operator
{{- end -}}

{{- define "bulla.operator.serviceAccount" -}}
{{ .Values.operator.serviceAccount.name | default (include "bulla.operator.name" .) }}
{{- end -}}

{{/* The operator as the subject of a binding. */}}
{{- define "bulla.operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "bulla.operator.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end -}}
