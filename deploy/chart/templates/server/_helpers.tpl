{{- define "bulla.server.name" -}}
{{ include "bulla.fullname" . }}-server
{{- end -}}

{{- define "bulla.server.serviceAccount" -}}
{{ .Values.server.serviceAccount.name | default (include "bulla.server.name" .) }}
{{- end -}}

{{/* Whether it serves TLS: "true" if so. It must be said which of the two. */}}
{{- define "bulla.server.isTls" -}}
{{- with .Values.server.tls -}}
{{- if and .secret .disabled -}}
{{- fail "server.tls.secret and server.tls.disabled are both set: choose one" -}}
{{- else if .secret -}}
true
{{- else if not .disabled -}}
{{- fail "server.tls.secret is not set: name a Secret with tls.crt and tls.key. Or, where something before the server does TLS, set server.tls.disabled: every token and secret can then be read on the way" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses a key that would stand in a ConfigMap. */}}
{{- define "bulla.server.check" -}}
{{- range regexFindAll `(?m)^[^#\n]*(current_key|previous_key)\s*=\s*"[^"]*"` .Values.server.config -1 -}}
{{- if not (regexMatch `=\s*"(env|file)://` .) -}}
{{- fail "server.config has the key of a static seal in it, and is kept in a ConfigMap: write env://NAME, with the variable from a Secret in server.extraEnv" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration: what the chart says, and then what you say. */}}
{{- define "bulla.server.config" -}}
listener "tcp" {
  address = "0.0.0.0:8200"
  {{- if include "bulla.server.isTls" . }}
  tls_cert_file = "/tls/tls.crt"
  tls_key_file  = "/tls/tls.key"
  {{- else }}
  tls_disable = true
  allow_plaintext_on_the_network = true
  {{- end }}
  {{- if .Values.server.metrics.open }}
  telemetry { unauthenticated_metrics_access = true }
  {{- end }}
}
storage "embedded" { path = "/data" }
{{- if .Values.server.auditToLog }}
audit "file" "log" {
  options { file_path = "stdout" }
}
{{- end }}
{{ .Values.server.config }}
{{- end -}}

{{/* How the kubelet looks after it. Call: (list . "?QUERY"). */}}
{{- define "bulla.server.probe" -}}
path: /v1/sys/health{{ index . 1 }}
port: api
scheme: {{ eq (include "bulla.server.isTls" (index . 0)) "true" | ternary "HTTPS" "HTTP" }}
{{- end -}}
