{{/* Envoy's configuration: the repository's envoy/envoy.yaml, of which files/envoy.yaml is a copy, with some lines put in or changed. */}}
{{- define "postern.bootstrap" -}}
{{- $text := .Files.Get "files/envoy.yaml" }}
{{- $upstream := "{socket_address: {address: upstream, port_value: 8080}} # address: upstream" }}
{{- $edge := "          use_remote_address: true\n" }}
{{- $listeners := "  listeners:\n  - name: public\n" }}
{{- $clusters := "  clusters:\n  - name: postern\n" }}
{{- $early := "              - {remove: x-api-secret-id}\n" }}
{{- $log := "          access_log:\n" }}
{{- range list $upstream $edge $listeners $clusters $early $log }}
{{- if ne (len (splitList . $text)) 2 }}
{{- fail (printf "files/envoy.yaml does not hold %q exactly once: this chart and that file do not belong together" .) }}
{{- end }}
{{- end }}
{{- with .Values.envoy }}
{{- $text = replace $upstream (printf "{socket_address: {address: %q, port_value: %d}} # address: upstream" .upstream.host (int .upstream.port)) $text }}
{{- if .trustedHops }}
{{- $text = replace $edge (printf "%s          xff_num_trusted_hops: %d\n" $edge (int .trustedHops)) $text }}
{{- end }}
{{- end }}
{{- $collector := "" }}
{{- with .Values.traces }}
{{- if .host }}
{{- $collector = replace "{address: collector, port_value: 4318}" (printf "{address: %q, port_value: %d}" .host (int .port)) ($.Files.Get "files/traces-cluster.yaml") }}
{{- $tracing := replace "http://collector:4318/" (printf "http://%s:%d/" .host (int .port)) ($.Files.Get "files/traces.yaml") | replace "{value: 1}" (printf "{value: %v}" .percent) }}
{{- $text = replace $early (printf "%s%s" $early ($.Files.Get "files/traces-headers.yaml")) $text }}
{{- $text = replace $log (printf "%s%s" $tracing $log) $text }}
{{- end }}
{{- end }}
{{- $text = replace $listeners (printf "  listeners:\n%s  - name: public\n" (.Files.Get "files/ops-listener.yaml")) $text }}
{{- $text = replace $clusters (printf "  clusters:\n%s%s  - name: postern\n" (.Files.Get "files/ops-cluster.yaml") $collector) $text }}
{{- $text }}
{{- end }}

{{- define "postern.envoy" -}}
- name: envoy
  image: {{ .Values.envoy.image }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args:
  - --config-path
  - /etc/envoy/envoy.yaml
  - --concurrency
  - {{ .Values.envoy.concurrency | quote }}
  - --log-level
  - warn
  - --disable-hot-restart # pods are replaced; without it Envoy claims shared memory
  ports:
  - {name: http, containerPort: 10000}
  - {name: envoy-ops, containerPort: 9903}
  lifecycle:
    preStop:
      exec:
        # Not ready from here on, and clients are asked to go elsewhere, but served. It may take a while until all have heard of it.
        command:
        - bash
        - -c
        - |
          (exec 3<>/dev/tcp/127.0.0.1/9901; printf 'POST /healthcheck/fail HTTP/1.1\r\nhost: envoy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' >&3; cat <&3)
          sleep {{ .Values.envoy.drainSeconds }}
  startupProbe:
    httpGet: {path: /ready, port: envoy-ops}
    periodSeconds: 1
    timeoutSeconds: 2
    failureThreshold: 60
  livenessProbe:
    tcpSocket: {port: envoy-ops}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 3
  readinessProbe:
    httpGet: {path: /ready, port: envoy-ops}
    periodSeconds: 2
    timeoutSeconds: 3
    failureThreshold: 2
  resources:
{{- toYaml .Values.envoy.resources | nindent 4 }}
  securityContext:
    runAsUser: 101
    runAsGroup: 65532 # the gate's: its socket is open to owner and group alone
{{- include "postern.containerSecurity" . | nindent 4 }}
  volumeMounts:
  - {name: envoy, mountPath: /etc/envoy, readOnly: true}
  - {name: socket, mountPath: /run/postern, readOnly: true} # connecting is no write
{{- end }}
