{{/* Arguments of `bulla operator`, a YAML list. */}}
{{- define "bulla.sync.args" -}}
{{- if include "bulla.node.isSynced" . -}}
- --enable=sync
{{- with .Values.syncSecret.namespaces }}
- --sync-namespaces={{ join "," . }}
{{- end }}
{{- if not .Values.sealing.enabled }}
- --node-service-accounts={{ .Release.Namespace }}/{{ include "bulla.node.serviceAccount" . }}
{{- end }}
{{- end -}}
{{- end -}}
