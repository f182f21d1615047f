{{- define "bulla.inject.name" -}}
{{ include "bulla.fullname" . }}-inject
{{- end -}}

{{/* The same, as the name of a cluster's object. */}}
{{- define "bulla.inject.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "bulla.inject.name" .) }}
{{- end -}}

{{/* Arguments of `bulla operator`, a YAML list. */}}
{{- define "bulla.inject.args" -}}
{{- if .Values.inject.enabled -}}
{{- with .Values.inject -}}
- --enable=inject
- --inject-image={{ include "bulla.image" $ }}
- --inject-pull-policy={{ $.Values.image.pullPolicy }}
- --inject-driver={{ .driverName | default $.Values.node.driverName }}
- {{ printf "--inject-resources=%s" (.resources | toJson) | quote }}
- --inject-configuration={{ include "bulla.inject.clusterName" $ }}
- --inject-service={{ include "bulla.inject.name" $ }}
{{- end -}}
{{- end -}}
{{- end -}}
