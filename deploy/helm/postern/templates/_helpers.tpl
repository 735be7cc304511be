{{- define "postern.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* 50 bytes: the longest suffix, and what a StatefulSet adds to its pods' names, must fit in a DNS label beside it. */}}
{{- define "postern.fullname" -}}
{{- $name := include "postern.name" . }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- .Values.fullnameOverride | default $full | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* A component's selector: list CONTEXT COMPONENT. */}}
{{- define "postern.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "postern.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "postern.labels" -}}
{{- $ := index . 0 -}}
{{ include "postern.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version }}
{{- end }}

{{- define "postern.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Of every container; with the pod's own it is the restricted profile of Pod Security. */}}
{{- define "postern.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Of every pod: dict "root" CONTEXT "group" GID. */}}
{{- define "postern.pod" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
# Nothing here talks to Kubernetes.
automountServiceAccountToken: false
# Else a Service named postern-… would set variables that begin like the gate's own.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  fsGroup: {{ .group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "postern.spread" -}}
{{- if .Values.topologySpread.enabled }}
topologySpreadConstraints:
{{- range .Values.topologySpread.keys }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
{{- include "postern.selector" (list $ "gate") | nindent 6 }}
  matchLabelKeys: [pod-template-hash] # else an update counts the old pods too, and ends up skewed
{{- end }}
{{- end }}
{{- end }}

{{/* Values that make no sense together, or are missing. The schema has what can be said of one value. */}}
{{- define "postern.check" -}}
{{- $v := .Values }}
{{- if and (eq $v.mode "sidecar") (not $v.envoy.upstream.host) }}
{{- fail "envoy.upstream.host is missing: set it to the address of your API, or set mode: service" }}
{{- end }}
{{- if and (eq $v.mode "service") (not $v.service.tls.secret) (not $v.service.insecure) }}
{{- fail "service.tls.secret is missing: name a Secret with tls.crt and tls.key, or set service.insecure: true where a mesh encrypts" }}
{{- end }}
{{- if and $v.service.tls.secret $v.service.insecure }}
{{- fail "service.tls.secret and service.insecure contradict each other: take one out" }}
{{- end }}
{{- if eq (empty $v.catalog.configMap) (empty $v.catalog.inline) }}
{{- fail "catalog: set one of configMap (an existing one) and inline (--set-file catalog.inline=FILE)" }}
{{- end }}
{{- if eq (empty $v.redis.secret) (not $v.redis.bundled.enabled) }}
{{- fail "redis: set one of secret (an existing one with the URL) and bundled.enabled (to try things out)" }}
{{- end }}
{{- if $v.admin.enabled }}
{{- if and (not $v.admin.tokens.secret) (not (contains "--oidc-issuer" (join " " $v.admin.extraArgs))) }}
{{- fail "admin.tokens.secret is missing: name a Secret with a token file, or give --oidc-issuer in admin.extraArgs" }}
{{- end }}
{{- if eq (empty $v.admin.tls.secret) (not $v.admin.insecure) }}
{{- fail "admin: set one of tls.secret and insecure" }}
{{- end }}
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" }}
{{- end }}
{{- end }}
