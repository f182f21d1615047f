{{- define "bulla.node.name" -}}
{{ include "bulla.fullname" . }}-node
{{- end -}}

{{/* The same, as the name of a cluster's object. */}}
{{- define "bulla.node.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "bulla.node.name" .) }}
{{- end -}}

{{- define "bulla.node.serviceAccount" -}}
{{ .Values.node.serviceAccount.name | default (include "bulla.node.name" .) }}
{{- end -}}

{{/* The driver's folder on each node. Its name is the driver's, so that two drivers do not meet. */}}
{{- define "bulla.node.pluginFolder" -}}
{{ .Values.node.kubeletFolder }}/plugins/{{ .Values.node.driverName }}
{{- end -}}

{{/* Whether the operator opens SealedSecrets for it: "true" if both doors are on. */}}
{{- define "bulla.node.isSealed" -}}
{{- if and .Values.node.enabled .Values.sealing.enabled -}}true{{- end -}}
{{- end -}}

{{/* Whether it is a driver, and not providers for another one: "true" if so. */}}
{{- define "bulla.node.isDriver" -}}
{{- if eq .Values.node.role "driver" -}}true{{- end -}}
{{- end -}}

{{/* Whether the operator writes Secrets for it: "true" if that is on. */}}
{{- define "bulla.node.isSynced" -}}
{{- if and .Values.node.enabled .Values.syncSecret.enabled (include "bulla.node.isDriver" .) -}}true{{- end -}}
{{- end -}}

{{/* Whether it asks the operator for anything. */}}
{{- define "bulla.node.asksOperator" -}}
{{- if or (include "bulla.node.isSealed" .) (include "bulla.node.isSynced" .) -}}true{{- end -}}
{{- end -}}

{{/* Where it asks for that. */}}
{{- define "bulla.node.sealingService" -}}
{{ include "bulla.fullname" . }}-sealing-nodes
{{- end -}}

{{/* The address of that, as it is told. */}}
{{- define "bulla.node.operatorAddress" -}}
{{ .Values.node.sealingOperator | default (printf "https://%s.%s.svc:8443" (include "bulla.node.sealingService" .) .Release.Namespace) }}
{{- end -}}

{{/* Arguments of `bulla node`, or of `bulla provider`, a YAML list. */}}
{{- define "bulla.node.args" -}}
{{- with .Values.node -}}
{{- if include "bulla.node.isDriver" $ -}}
- --drivername={{ .driverName }}
- --kubelet-registration-path={{ include "bulla.node.pluginFolder" $ }}/csi.sock
- --pods-folder={{ .kubeletFolder }}/pods
- --provider-volume={{ last .providerFolders }}
- --additional-provider-volume-paths={{ join "," (initial .providerFolders) }}
- --enable-secret-rotation={{ .rotation.enabled }}
- --rotation-poll-interval={{ .rotation.interval }}
{{- else -}}
- --folder={{ first .providerFolders }}
- --metrics-addr=:8095
{{- end }}
{{- if include "bulla.node.isSealed" $ }}
- --sealing-operator={{ include "bulla.node.operatorAddress" $ }}
{{- end }}
{{- if include "bulla.node.isSynced" $ }}
- --sync-operator={{ include "bulla.node.operatorAddress" $ }}
{{- end }}
{{- if include "bulla.node.asksOperator" $ }}
- --sealing-namespace={{ $.Release.Namespace }}
{{- end }}
{{- with .vault }}
{{- if .enabled }}
{{- if not (or .address .allowedAddresses) }}
{{- fail "node.vault is enabled and has no server: set node.vault.address, or node.vault.allowedAddresses" }}
{{- end }}
{{- with .address }}
- --vault-address={{ . }}
{{- end }}
{{- with .allowedAddresses }}
- {{ printf "--vault-allowed-addresses=%s" (join "," .) | quote }}
{{- end }}
{{- if .tlsSecret }}
- --vault-tls-folder=/vault/tls
{{- with .caFile }}
- --vault-ca-cert=/vault/tls/{{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
