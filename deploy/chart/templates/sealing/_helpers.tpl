{{/* What wraps the keys: at least one must be named, or the operator would not start. */}}
{{- define "bulla.sealing.check" -}}
{{- with .Values.sealing.keyService -}}
{{- if not (or .awsKms .vaultTransit .localKeyFile.path .shares .plainSecret) -}}
{{- fail "sealing.keyService: name what wraps the private keys: awsKms, vaultTransit, localKeyFile.path (a file on the control-plane nodes), shares (given by people), or plainSecret (not wrapped: whoever reads Secrets here opens everything)" -}}
{{- end -}}
{{- if and .plainSecret (or .awsKms .vaultTransit .localKeyFile.path .shares) -}}
{{- fail "sealing.keyService.plainSecret is on beside something that wraps keys: it would leave them plain all the same. Turn it off" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether a file on the nodes has the key. */}}
{{- define "bulla.sealing.hasKeyFile" -}}
{{- if and .Values.sealing.enabled .Values.sealing.keyService.localKeyFile.path -}}true{{- end -}}
{{- end -}}

{{/* The volume with that file. */}}
{{- define "bulla.sealing.keyVolume" -}}
{{ include "bulla.fullname" . }}-sealing-key
{{- end -}}

{{/* The same, as the name of a cluster's object. */}}
{{- define "bulla.sealing.keyPersistentVolume" -}}
{{ printf "%s-%s-key" .Release.Namespace (include "bulla.fullname" .) }}
{{- end -}}

{{/* Arguments of `bulla operator`, a YAML list. */}}
{{- define "bulla.sealing.args" -}}
{{- if .Values.sealing.enabled -}}
{{- include "bulla.sealing.check" . -}}
{{- with .Values.sealing -}}
- sealing
{{- with .namespaces }}
- --namespaces={{ join "," . }}
{{- end }}
{{- range concat .keyService.awsKms .keyService.vaultTransit }}
- --key-service={{ . }}
{{- end }}
{{- with .keyService.localKeyFile.path }}
- --key-service=local:/etc/bulla/keys/{{ base . }}
{{- end }}
{{- if .keyService.shares }}
- --key-service=shares{{ with .keyService.sharesSet }}:{{ . }}{{ end }}
{{- end }}
{{- if .keyService.plainSecret }}
- --key-service=plain-secret
{{- end }}
{{- if .keyService.threshold }}
- --key-service-threshold={{ .keyService.threshold }}
{{- end }}
- --key-renew-period={{ .keyRenewPeriod }}
{{- range .algorithms }}
- --key-algorithm={{ . }}
{{- end }}
{{- with .adoptKeys }}
- --adopt-keys={{ . }}
{{- end }}
{{- if $.Values.node.enabled }}
- --node-service-accounts={{ $.Release.Namespace }}/{{ include "bulla.node.serviceAccount" $ }}
{{- range .sopsKeys }}
- --sops-key={{ . }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Environment variables, a YAML list. */}}
{{- define "bulla.sealing.env" -}}
{{- with .Values.sealing -}}
{{- if and .enabled .keyService.vaultTransit -}}
# Credentials go to this server alone.
- name: VAULT_ADDR
  value: {{ regexFind "^[a-z]+://[^/]+" (first .keyService.vaultTransit) | quote }}
{{- with .keyService.vault }}
{{- if .role }}
- name: BULLA_VAULT_AUTH
  value: kubernetes
- name: BULLA_VAULT_ROLE
  value: {{ .role | quote }}
- name: BULLA_VAULT_AUTH_MOUNT
  value: {{ .authMount | quote }}
{{- end }}
{{- with .namespace }}
- name: VAULT_NAMESPACE
  value: {{ . | quote }}
{{- end }}
{{- if .caConfigMap }}
- name: VAULT_CACERT
  value: /etc/bulla/vault/ca.crt
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Volumes of the pod and where the container has them, YAML lists. */}}
{{- define "bulla.sealing.volumes" -}}
{{- if .Values.sealing.enabled -}}
{{- if include "bulla.sealing.hasKeyFile" . }}
- name: key
  persistentVolumeClaim:
    claimName: {{ include "bulla.sealing.keyVolume" . }}
    readOnly: true
{{- end }}
{{- with .Values.sealing.keyService.vault.caConfigMap }}
- name: vault
  configMap:
    name: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{- define "bulla.sealing.volumeMounts" -}}
{{- if .Values.sealing.enabled -}}
{{- if include "bulla.sealing.hasKeyFile" . }}
- name: key
  mountPath: /etc/bulla/keys
  readOnly: true
{{- end }}
{{- if .Values.sealing.keyService.vault.caConfigMap }}
- name: vault
  mountPath: /etc/bulla/vault
  readOnly: true
{{- end }}
{{- end -}}
{{- end -}}

{{/* Where the pod may run: YAML, a map and a list. */}}
{{- define "bulla.sealing.nodeSelector" -}}
{{- if include "bulla.sealing.hasKeyFile" . -}}
{{ toYaml .Values.sealing.keyService.localKeyFile.nodeSelector }}
{{- end -}}
{{- end -}}

{{- define "bulla.sealing.tolerations" -}}
{{- if include "bulla.sealing.hasKeyFile" . -}}
{{ toYaml .Values.sealing.keyService.localKeyFile.tolerations }}
{{- end -}}
{{- end -}}
