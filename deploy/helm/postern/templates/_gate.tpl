{{/* What the gate, its management server and their commands share: where the store, the keys and the catalog are. In the environment rather than
in the arguments, so that `kubectl exec … -- /postern merchant create m-1` finds them too. */}}
{{- define "postern.env" -}}
{{- with .Values.redis }}
{{- if .bundled.enabled }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .bundled.passwordSecret }}, key: {{ .bundled.passwordKey }}}}
- name: POSTERN_REDIS
  value: redis://:$(REDIS_PASSWORD)@{{ include "postern.fullname" $ }}-redis:6379
{{- else }}
- name: POSTERN_REDIS
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end }}
{{- if .caSecret }}
- name: POSTERN_REDIS_CA
  value: /etc/postern/redis-ca/ca.crt
{{- end }}
{{- end }}
- name: POSTERN_KEY_FILE
  value: /etc/postern/keys/postern.json
- name: POSTERN_CATALOG
  value: /etc/postern/catalog/catalog.yaml
{{- end }}

{{/* Whole folders: a mounted file (subPath) would never change. */}}
{{- define "postern.mounts" -}}
- {name: catalog, mountPath: /etc/postern/catalog, readOnly: true}
- {name: keys, mountPath: /etc/postern/keys, readOnly: true}
{{- if .Values.redis.caSecret }}
- {name: redis-ca, mountPath: /etc/postern/redis-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "postern.volumes" -}}
- name: catalog
  configMap:
    name: {{ .Values.catalog.configMap | default (printf "%s-catalog" (include "postern.fullname" .)) }}
    items: [{key: {{ ternary .Values.catalog.key "catalog.yaml" (not (empty .Values.catalog.configMap)) }}, path: catalog.yaml}]
- name: keys
  secret:
    secretName: {{ .Values.keys.secret }}
    defaultMode: 0440 # root's and the pod's group's: the gate does not run as the owner
    items: [{key: {{ .Values.keys.key }}, path: postern.json}]
{{- with .Values.redis }}
{{- if .caSecret }}
- name: redis-ca
  secret:
    secretName: {{ .caSecret }}
    items: [{key: {{ .caKey }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}

{{/* The container of `postern serve`: dict "root" CONTEXT "args" LIST "mounts" LIST "scheme" HTTP|HTTPS. */}}
{{- define "postern.container" -}}
- name: postern
  image: {{ include "postern.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
  - serve
{{- range .args }}
  - {{ . }}
{{- end }}
  - --ops=:9102
  - --drain-timeout={{ .root.Values.postern.drainSeconds }}s
{{- with .root.Values.traces }}
{{- if .host }}
  - --trace-endpoint=http://{{ .host }}:{{ int .port }}/v1/traces
{{- end }}
{{- end }}
{{- range .root.Values.postern.extraArgs }}
  - {{ . | quote }}
{{- end }}
  env:
{{- include "postern.env" .root | trim | nindent 2 }}
  ports:
  - {name: ops, containerPort: 9102}
{{- if eq .root.Values.mode "service" }}
  - {name: grpc, containerPort: 9000}
{{- end }}
  # It lives and has its socket; no word of Redis. Envoy starts after it.
  startupProbe:
    httpGet: {path: /healthz, port: ops, scheme: {{ .scheme }}}
    periodSeconds: 1
    timeoutSeconds: 2
    failureThreshold: 60
  # The process only: with Redis away, a restart would lose what is in memory and so make an outage of a fault.
  livenessProbe:
    httpGet: {path: /healthz, port: ops, scheme: {{ .scheme }}}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 3
  # Once it was ready it stays so without Redis: all pods would go at the same time.
  readinessProbe:
    httpGet: {path: /readyz, port: ops, scheme: {{ .scheme }}}
    periodSeconds: 2
    timeoutSeconds: 3
    failureThreshold: 2
  resources:
{{- toYaml .root.Values.postern.resources | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532
{{- include "postern.containerSecurity" .root | nindent 4 }}
  volumeMounts:
{{- include "postern.mounts" .root | nindent 2 }}
{{- range .mounts }}
  - {{ . }}
{{- end }}
{{- end }}
