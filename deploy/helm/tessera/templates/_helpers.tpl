{{/* What all templates share. */}}

{{- define "tessera.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name)) -}}
{{- if gt (len $name) 30 }}{{ fail (printf "fullnameOverride: %q, which all names begin with, is longer than 30 characters; name a shorter one." $name) }}{{ end -}}
{{- $name -}}
{{- end }}

{{/* Arguments: context, component. */}}
{{- define "tessera.selector" -}}
app.kubernetes.io/name: {{ .context.Chart.Name }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tessera.labels" -}}
{{ include "tessera.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" }}
{{- with .context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Arguments: context, image. */}}
{{- define "tessera.image" -}}
{{ .image.repository }}:{{ .image.tag | default .context.Chart.AppVersion }}
{{- end }}

{{/* Pod security "restricted", for all pods. */}}
{{- define "tessera.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tessera.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A number, text, truth or object as an environment variable has it: 1000000 and not 1e+06, objects as JSON. */}}
{{- define "tessera.value" -}}
{{- if kindIs "map" . }}{{ toJson . }}{{ else if and (kindIs "float64" .) (eq . (floor .)) }}{{ . | int64 }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{/* Environment variables of a map of settings. */}}
{{- define "tessera.settings" -}}
{{- range $name, $value := . }}
- name: TESSERA_{{ upper $name }}
  value: {{ include "tessera.value" $value | quote }}
{{- end }}
{{- end }}

{{/* Where Redis is: the address comes from a secret, or from the bundled one's name and a secret with its password. */}}
{{- define "tessera.redisEnv" -}}
{{- $redis := .Values.redis -}}
{{- if $redis.bundled.enabled -}}
{{- if $redis.existingSecret }}{{ fail "redis.existingSecret and redis.bundled.enabled: name an address, or have a Redis deployed; not both." }}{{ end -}}
{{- $login := "" -}}
{{- with $redis.bundled.existingSecret -}}
{{- $login = ":$(REDIS_PASSWORD)@" }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ . }}, key: password}}
{{- end }}
- name: TESSERA_REDIS_URL
  value: redis://{{ $login }}{{ include "tessera.fullname" . }}-redis:6379
- name: TESSERA_MEDIA_REDIS_URL
  value: redis://{{ $login }}{{ include "tessera.fullname" . }}-redis-media:6379
{{- else -}}
{{- $secret := required "redis.existingSecret: name the secret with the address of Redis, or set redis.bundled.enabled for a trial." $redis.existingSecret }}
- name: TESSERA_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $redis.urlKey }}}}
{{- with $redis.mediaUrlKey }}
- name: TESSERA_MEDIA_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ . }}}}
{{- end }}
{{- range $setting, $key := dict "USERNAME" $redis.usernameKey "PASSWORD" $redis.passwordKey "SENTINEL_PASSWORD" $redis.sentinelPasswordKey }}
{{- if $key }}
- name: TESSERA_REDIS_{{ $setting }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- end }}
{{- if $redis.caSecret }}
- {name: TESSERA_REDIS_CA_FILE, value: /etc/tessera/redis-ca/ca.crt}
{{- end }}
{{- if $redis.certificateSecret }}
- {name: TESSERA_REDIS_CERT_FILE, value: /etc/tessera/redis-certificate/tls.crt}
- {name: TESSERA_REDIS_KEY_FILE, value: /etc/tessera/redis-certificate/tls.key}
{{- end }}
{{- end }}
{{- end }}

{{- define "tessera.redisCaMount" -}}
{{- if .Values.redis.caSecret }}
- {name: redis-ca, mountPath: /etc/tessera/redis-ca, readOnly: true}
{{- end }}
{{- if .Values.redis.certificateSecret }}
- {name: redis-certificate, mountPath: /etc/tessera/redis-certificate, readOnly: true}
{{- end }}
{{- end }}

{{- define "tessera.redisCaVolume" -}}
{{- with .Values.redis.caSecret }}
- name: redis-ca
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .Values.redis.certificateSecret }}
- name: redis-certificate
  secret: {secretName: {{ . }}}
{{- end }}
{{- end }}

{{/* Rules of egress that gateways and workers share: names, and Redis. */}}
{{- define "tessera.egress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- $redis := .Values.redis }}
{{- if $redis.bundled.enabled }}
- to:
    - podSelector:
        matchLabels: {{- include "tessera.selector" (dict "context" . "component" "redis") | nindent 10 }}
    - podSelector:
        matchLabels: {{- include "tessera.selector" (dict "context" . "component" "redis-media") | nindent 10 }}
  ports:
    - {port: 6379, protocol: TCP}
{{- else }}
- ports:
    {{- range $redis.networkPolicy.ports }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- with $redis.networkPolicy.egressTo }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Blocks of addresses without the exceptions of their family, which only fit into the whole of it. */}}
{{- define "tessera.mediaBlocks" -}}
{{- $except := .mediaExcept -}}
{{- range .mediaCidrs }}
- ipBlock:
    cidr: {{ . | quote }}
    {{- if has . (list "0.0.0.0/0" "::/0") }}
    {{- $six := contains ":" . }}
    {{- $own := list }}
    {{- range $except }}{{ if eq $six (contains ":" .) }}{{ $own = append $own . }}{{ end }}{{ end }}
    {{- with $own }}
    except: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}

{{/* Pods with access to metrics. */}}
{{- define "tessera.monitoring" -}}
- namespaceSelector:
    matchLabels: {{- toYaml .Values.networkPolicies.monitoringNamespaceLabels | nindent 6 }}
{{- end }}

{{/* `prefer` over `base`, also where that is false, 0 or empty; lists are replaced. Gives JSON. */}}
{{- define "tessera.merge" -}}
{{- $merged := deepCopy .base -}}
{{- range $name, $value := .prefer -}}
{{- $old := index $.base $name -}}
{{- if and (kindIs "map" $value) (kindIs "map" $old) (not (has $name (list "nodeSelector" "headNodeSelector" "affinity"))) -}}
{{- $_ := set $merged $name (include "tessera.merge" (dict "base" $old "prefer" $value) | fromJson) -}}
{{- else -}}
{{- $_ := set $merged $name $value -}}
{{- end -}}
{{- end -}}
{{- $merged | toJson -}}
{{- end }}
